// A client of one cluster: its spaces and what they share.

import { checkDeadline } from "./call.js";
import { levelToWire, type ReadToken } from "./consistency.js";
import { InvalidArgument, Refused } from "./errors.js";
import { Failure } from "./failure.js";
import { nothing } from "./filters.js";
import { DIM_MAX, DIM_MIN } from "./limits.js";
import { completeObserve, type ConnectOptions, type ObserveOptions } from "./options.js";
import { checkEndpoint, Pool } from "./pool.js";
import { ask, type CallOptions, Space } from "./space.js";
import { checkSpaceName, vectorToWire } from "./values.js";

/** What `client.space` takes beside name and dim. The deadline is that of `timing` unless another is given. */
export interface SpaceCall extends CallOptions {
  /** How the space's observations are streamed, where that differs from the defaults. */
  readonly options?: Partial<ObserveOptions>;
}

/** A client of the cluster of which these are nodes, each a `host:port`, or a URL with `ws:` or `wss:` of something in
 * front of it. Nothing is dialled yet. Errors: `InvalidArgument`. */
export function connect(endpoints: string | readonly string[], options: ConnectOptions = {}): Client {
  return new Client(new Pool(endpoints, options), undefined, new Map());
}

/** See `connect`. Its connections keep a process alive: close it. */
export class Client {
  readonly #pool: Pool;
  readonly #pin: string | undefined;
  readonly #spaces: Map<string, Space>;

  /** @internal */
  constructor(pool: Pool, pin: string | undefined, spaces: Map<string, Space>) {
    this.#pool = pool;
    this.#pin = pin;
    this.#spaces = spaces;
  }

  /** The same client for one node only: it neither follows hints nor tries another endpoint. It shares connections and
   * the token; close the first one. Errors: `InvalidArgument`. */
  on(endpoint: string): Client {
    checkEndpoint(endpoint);
    return new Client(this.#pool, endpoint, this.#spaces);
  }

  /** Those that it was made with. */
  get endpoints(): readonly string[] {
    return this.#pool.endpoints;
  }

  /** What "session" reads wait for: the highest log index that was acked to this client, or that one of its reads was
   * answered at. */
  get token(): ReadToken {
    return this.#pool.token;
  }

  /** Takes over another client's token: its writes become visible to this one's "session" reads. */
  adopt(token: ReadToken): void {
    this.#pool.raiseToken(token);
  }

  /** The space of that name, which must be there, with so many dimensions. The same name and options share one stream.
   * Errors: `InvalidArgument`; `Refused`, with the kind NOT_FOUND if there is none, EXISTS if it has another dim; the
   * signal's reason. */
  async space(name: string, dim: number, call: SpaceCall = {}): Promise<Space> {
    checkSpaceName(name);
    if (!(Number.isInteger(dim) && dim >= DIM_MIN && dim <= DIM_MAX)) {
      throw new InvalidArgument(`dim is ${dim}; a space has ${DIM_MIN} to ${DIM_MAX} dimensions`);
    }
    const options = completeObserve(call.options);
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    await this.#look(name, dim, checkDeadline(deadlineMs), signal);
    const key = JSON.stringify([this.#pin, name, dim, options]);
    const space = this.#spaces.get(key) ?? new Space(this.#pool, this.#pin, name, dim, options);
    this.#spaces.set(key, space);
    return space;
  }

  /** Ends streams, watches and connections. Calls that wait for acks reject with `Unknown`, those that come later with
   * `InvalidArgument`. */
  async close(): Promise<void> {
    const spaces = [...this.#spaces.values()];
    this.#spaces.clear();
    await Promise.all([...spaces.map((space) => space.close()), this.#pool.close()]);
  }

  /** A recall of no row tells whether there is such a space: linearizable, as a node that is behind may not know it
   * yet. */
  async #look(name: string, dim: number, deadlineMs: number, signal: AbortSignal | undefined): Promise<void> {
    // A cue that every metric takes.
    const cue = vectorToWire(
      Float32Array.from({ length: dim }, () => 1),
      dim,
      "cue",
    );
    const consistency = levelToWire("linearizable", this.#pool.token);
    try {
      await ask(this.#pool, this.#pin, { space: name, cue, k: 1, filter: nothing(), consistency }, deadlineMs, signal);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      // The cue's length is all that can be wrong.
      if (error.kind === "INVALID") throw new Refused(`space "${name}": ${error.message}`, { kind: "EXISTS" });
      throw error.asRefused();
    }
  }
}
