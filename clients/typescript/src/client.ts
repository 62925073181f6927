// A client of one cluster: its spaces and what they share.

import { checkDeadline, readCall, readOf, writeCall } from "./call.js";
import type { ReadToken } from "./consistency.js";
import { Refused, Unknown } from "./errors.js";
import { Failure } from "./failure.js";
import { callOf } from "./lane.js";
import { completeObserve, type ConnectOptions, type ObserveOptions } from "./options.js";
import { checkEndpoint, Pool } from "./pool.js";
import { type CallOptions, Space } from "./space.js";
import { checkSame, configToWire, type SpaceConfig } from "./spaces.js";
import { type SpaceInfo, spaceFromWire, type Status, statusFromWire } from "./status.js";
import { checkTraceparent } from "./trace.js";
import { checkSpaceName } from "./values.js";
import { type Limit, now } from "./waits.js";

/** What `client.space` takes beside name and dim. The deadline is that of `timing` unless another is given. */
export interface SpaceCall extends CallOptions, SpaceConfig {
  /** How the space's observations are streamed, where that differs from the defaults. */
  readonly options?: Partial<ObserveOptions>;
}

/** A client of the cluster of which these are nodes, each a `host:port`, or a URL with `ws:` or `wss:` of something in
 * front of it. Nothing is dialled yet. Errors: `InvalidArgument`. */
export function connect(endpoints: string | readonly string[], options: ConnectOptions = {}): Client {
  return new Client(new Pool(endpoints, options), undefined, new Map(), "");
}

/** See `connect`. Its connections keep a process alive: close it. */
export class Client {
  readonly #pool: Pool;
  readonly #pin: string | undefined;
  readonly #spaces: Map<string, Space>;
  /** The trace that its calls belong to; empty: none. */
  readonly #traceparent: string;

  /** @internal */
  constructor(pool: Pool, pin: string | undefined, spaces: Map<string, Space>, traceparent: string) {
    this.#pool = pool;
    this.#pin = pin;
    this.#spaces = spaces;
    this.#traceparent = traceparent;
  }

  /** The same client for one node only: it neither follows hints nor tries another endpoint. It shares connections and
   * the token; close the first one. Errors: `InvalidArgument`. */
  on(endpoint: string): Client {
    checkEndpoint(endpoint);
    return new Client(this.#pool, endpoint, this.#spaces, this.#traceparent);
  }

  /** The same client, whose observations and recalls belong to a trace: nodes that send spans to a collector add theirs
   * to it, from the edge to the index. `traceparent` is W3C's, as `00-<trace id>-<span id>-01`. It shares connections
   * and the token; its spaces have streams of their own, which its `close` ends, and no others. Errors:
   * `InvalidArgument` when it is not as W3C says. */
  traced(traceparent: string): Client {
    return new Client(this.#pool, this.#pin, new Map(), checkTraceparent(traceparent));
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

  /** The space of that name, made if there is none; without `dim` it must be there. The same name and options share one
   * stream. Errors: `InvalidArgument`; `Refused`, with the kind EXISTS if it is there and of another dim, metric,
   * precision or time to live, with NOT_FOUND if it should be there and is not; `Unknown` when no node answers in time:
   * call again. */
  async space(name: string, dim?: number, call: SpaceCall = {}): Promise<Space> {
    const config = configToWire(name, dim, call);
    const options = completeObserve(call.options);
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    checkDeadline(deadlineMs);
    const made = dim === undefined ? undefined : await this.#create(config, deadlineMs, signal);
    const info = made ?? (await this.#find(name, deadlineMs, signal, dim !== undefined));
    checkSame(dim, call, info);
    const key = JSON.stringify([this.#pin, name, options]);
    const known = this.#spaces.get(key);
    if (known?.info.id === info.id) return known;
    const space = new Space(this.#pool, this.#pin, info, options, this.#traceparent);
    this.#spaces.set(key, space);
    // One of that name was dropped meanwhile, if there was one.
    await known?.close();
    return space;
  }

  /** All spaces, as the node that answers has them. Errors: `ReadError`; the signal's reason. */
  async spaces(call: CallOptions = {}): Promise<readonly SpaceInfo[]> {
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    try {
      const answer = await readOf(this.#pool, this.#pin, checkDeadline(deadlineMs), signal, "listSpaces", {});
      return answer.spaces.map(spaceFromWire);
    } catch (error) {
      throw error instanceof Failure ? error.asReadError() : error;
    }
  }

  /** Drops a space with all its rows; the answer is the log index. Errors: `InvalidArgument`; `Refused` with the kind
   * NOT_FOUND; `Unknown`. */
  async dropSpace(name: string, call: CallOptions = {}): Promise<number> {
    checkSpaceName(name);
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    const ask = callOf("dropSpace", { name });
    const dropped = await writeCall(this.#pool, this.#pin, checkDeadline(deadlineMs), signal, ask);
    const logIndex = Number(dropped.logIndex);
    this.#pool.raiseToken({ logIndex, incarnation: 0n });
    return logIndex;
  }

  /** The state of one node: of that endpoint, or of any. Errors: `InvalidArgument`, `ReadError`; the signal's
   * reason. */
  async status(node?: string, call: CallOptions = {}): Promise<Status> {
    if (node !== undefined) checkEndpoint(node);
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    try {
      const answer = readOf(this.#pool, node ?? this.#pin, checkDeadline(deadlineMs), signal, "status", {});
      return statusFromWire(await answer);
    } catch (error) {
      throw error instanceof Failure ? error.asReadError() : error;
    }
  }

  /** Ends streams, watches and connections; a traced client its streams and watches. Calls that wait for acks reject
   * with `Unknown`, those that come later with `InvalidArgument`. */
  async close(): Promise<void> {
    const spaces = [...this.#spaces.values()];
    this.#spaces.clear();
    const pool = this.#traceparent === "" ? [this.#pool] : [];
    await Promise.all([...spaces, ...pool].map((each) => each.close()));
  }

  /** `undefined` if there is one already. A space can't be made twice, so after doubt it is simply tried again. */
  async #create(
    config: ReturnType<typeof configToWire>,
    deadlineMs: number,
    signal: AbortSignal | undefined,
  ): Promise<SpaceInfo | undefined> {
    const end = now() + deadlineMs;
    const ask = callOf("createSpace", { config });
    for (;;) {
      try {
        const { space, logIndex } = await writeCall(this.#pool, this.#pin, Math.max(1, end - now()), signal, ask);
        this.#pool.raiseToken({ logIndex: Number(logIndex), incarnation: 0n });
        return space === undefined ? undefined : spaceFromWire(space);
      } catch (error) {
        if (error instanceof Refused && error.kind === "EXISTS") return undefined;
        if (!(error instanceof Unknown) || signal?.aborted === true || now() >= end) throw error;
      }
    }
  }

  /** Asks the leader first: a node that is behind may not know of it yet; then, if it is sure to be there, that node is
   * asked again. */
  async #find(name: string, deadlineMs: number, signal: AbortSignal | undefined, sure: boolean): Promise<SpaceInfo> {
    const attempt = async (address: string, budgetMs: number, limit: Limit) => {
      const { spaces } = await this.#pool.lane(address).ask(callOf("listSpaces", {}), budgetMs, limit);
      const found = spaces.find(({ config }) => config?.name === name);
      if (found !== undefined) return spaceFromWire(found);
      const text = `${address} knows no space called "${name}"; create it: give its dim`;
      throw new Failure(text, { kind: sure ? "BEHIND" : "NOT_FOUND", rejected: true });
    };
    try {
      return await readCall(this.#pool, this.#pin, deadlineMs, signal, attempt, true);
    } catch (error) {
      throw error instanceof Failure ? error.asRefused() : error;
    }
  }
}
