// A memory space: observe, recall, forget, watch.

import { checkDeadline, readCall, readOf, writeCall } from "./call.js";
import { type Consistency, levelToWire, stateToWire } from "./consistency.js";
import { InvalidArgument, ReadError, Refused } from "./errors.js";
import { Failure } from "./failure.js";
import { openObserver } from "./driver.js";
import { type Where, whereToWire } from "./filters.js";
import type { Snapshot as WireSnapshot } from "./gen/engram/v1/types_pb.js";
import { type CallCase, type CallAnswer, callOf, type CallValue, type Question, recallOf } from "./lane.js";
import { EF_MAX, K_MAX } from "./limits.js";
import { type ListCall, Listing, listToWire } from "./list.js";
import { Load, observeOne } from "./load.js";
import { forgetToWire, type Named, namedToWire, type Which } from "./named.js";
import type { Observer } from "./observer.js";
import type { ObserveOptions } from "./options.js";
import type { Pool } from "./pool.js";
import {
  type Ack,
  type Answer,
  type Counted,
  type Forgotten,
  rowFromWire,
  RowSet,
  type Snapshot,
  snapshotFromWire,
  type Summary,
} from "./results.js";
import { iterate, type Rows } from "./rows.js";
import type { SpaceInfo } from "./status.js";
import { type Observation, observationToWire, type Vector, vectorToWire } from "./values.js";
import { Cut, Limit } from "./waits.js";
import { checkAfter, Watcher } from "./watch.js";

const RECALL_DEADLINE_MS = 10_000;
const WATCH_PATIENCE_MS = 60_000;

/** How long a call may take. */
export interface CallOptions {
  /** Milliseconds, attempts included. */
  readonly deadlineMs?: number;
  /** Aborts the call. A write then rejects with what is known of it, and the signal's reason as `cause`; a read rejects
   * with that reason. */
  readonly signal?: AbortSignal;
}

/** What `observe` takes beside text and embedding. No deadline unless one is given. */
export interface ObserveCall extends CallOptions, Pick<Observation, "timeMs" | "metadata" | "id"> {}

/** What `observeMany` takes beside the rows. No deadline unless one is given. */
export interface ObserveManyCall extends CallOptions {
  /** Called with the number of rows that are acked by now, each time that it has grown. */
  readonly progress?: (acked: number) => void;
}

/** What `recall` takes beside the cue and k. The deadline is 10 s unless another is given. */
export interface RecallCall extends CallOptions {
  /** Only rows that it means. */
  readonly where?: Where;
  /** "session" unless another is given. */
  readonly consistency?: Consistency;
  /** The state as of this log index, in place of a consistency: the same answer on every node at any time. */
  readonly atIndex?: number;
  /** Width of the graph search; the server's default for k if 0 or not given. */
  readonly ef?: number;
  /** Only hits with this score or a better one. */
  readonly scoreMin?: number;
  readonly withEmbedding?: boolean;
}

/** What `get` and `count` take beside what they mean. The deadline is that of `timing` unless another is given. */
export interface ReadCall extends CallOptions {
  /** "session" unless another is given. */
  readonly consistency?: Consistency;
}

/** What `get` takes: rows by number or by id. */
export interface GetCall extends ReadCall, Named {
  readonly withEmbedding?: boolean;
}

/** What `count` takes. */
export interface CountCall extends ReadCall {
  /** Only rows that it means. */
  readonly where?: Where;
}

/** What `forget` takes: one of `rows`, `ids`, `where` and `olderThanMs`. The deadline is that of `timing` unless
 * another is given. */
export interface ForgetCall extends CallOptions, Which {
  /** Erases these and every other forgotten row of the space at once: its past then begins with this call. */
  readonly erase?: boolean;
}

/** What `watch` takes. */
export interface WatchCall {
  /** Begins after this log index; from now on if not given. */
  readonly afterLogIndex?: number;
  /** Only rows that it means; forgets come all. */
  readonly where?: Where;
  readonly withEmbedding?: boolean;
  /** Gives up when no node has answered for so many milliseconds; 60 s unless another is given. */
  readonly patienceMs?: number;
  /** Ends the watch: what waits for the next change rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** A space of one cluster. Its observations share one exactly-once stream, opened at the first of them. */
export class Space {
  readonly name: string;
  /** Components of an embedding. */
  readonly dim: number;
  /** As it was when the client asked for it. */
  readonly info: SpaceInfo;
  readonly #pool: Pool;
  readonly #pin: string | undefined;
  readonly #options: ObserveOptions;
  readonly #traceparent: string;
  #observer: Observer | undefined;
  #opening: Promise<Observer> | undefined;
  readonly #closing = new AbortController();
  readonly #watchers = new Set<Watcher>();

  /** @internal */
  constructor(pool: Pool, pin: string | undefined, info: SpaceInfo, options: ObserveOptions, traceparent: string) {
    this.info = info;
    this.name = info.name;
    this.dim = info.dim;
    this.#pool = pool;
    this.#pin = pin;
    this.#options = options;
    this.#traceparent = traceparent;
  }

  /** One observation, exactly once; resolves once it is acked. Many may be under way at once. Errors: `InvalidArgument`
   * and `Refused`: it was not taken. `Unknown`: it may have been; after a deadline or an abort it is on its way yet. */
  async observe(text: string, embedding: Vector, call: ObserveCall = {}): Promise<Ack> {
    const { timeMs, metadata, id, deadlineMs, signal } = call;
    const row = observationToWire({ text, embedding, timeMs, metadata, id }, this.dim, "observation");
    const limit = new Limit(deadlineMs, signal);
    try {
      return await observeOne(await this.#stream(limit, call), row, limit);
    } finally {
      limit.done();
    }
  }

  /** Many observations, each exactly once, in their order; resolves once all are acked. Takes no more rows from an
   * iterable than fit into the window, and one.
   *
   * Errors, each with the `summary` of what became of the rows: `InvalidArgument` for a row that is wrong; columns
   * are checked whole before the first row is sent, and of another iterable the rows before the wrong one are in.
   * `Refused`: some rows surely were not taken; the others are in, unless the summary calls them unsent. `Unknown`:
   * it is not known of some rows. What the iterable throws comes through, once the rows before it are settled. */
  async observeMany(rows: Rows, call: ObserveManyCall = {}): Promise<Summary> {
    const source = iterate(rows, this.dim);
    const limit = new Limit(call.deadlineMs, call.signal);
    try {
      return await new Load(await this.#stream(limit, call), limit, call.progress).run(source, this.dim);
    } finally {
      limit.done();
    }
  }

  /** The k memories nearest to a cue, best first, from any node. Errors: `InvalidArgument`; `ReadError` once the
   * deadline has passed, or at once with NOT_FOUND or BELOW_FLOOR; the signal's reason. */
  async recall(cue: Vector, k = 10, call: RecallCall = {}): Promise<Answer> {
    const { deadlineMs = RECALL_DEADLINE_MS, signal } = call;
    const question = this.#question(cue, k, call);
    const attempt = (address: string, budgetMs: number, limit: Limit) =>
      this.#pool.lane(address).ask(recallOf(question), budgetMs, limit);
    try {
      const answer = await readCall(this.#pool, this.#pin, checkDeadline(deadlineMs), signal, attempt);
      this.#saw(answer.snapshot);
      return answer;
    } catch (error) {
      throw error instanceof Failure ? error.asReadError() : error;
    }
  }

  /** Forgets rows: they are in no later snapshot, on any node. May be called again: a row is forgotten once. Errors:
   * `InvalidArgument`, `Refused`; `Unknown`: call again. */
  async forget(call: ForgetCall): Promise<Forgotten> {
    const { deadlineMs = this.#pool.timing.deadlineMs, signal, erase = false } = call;
    const ask = callOf("forget", forgetToWire(this.name, call, erase));
    const gone = await writeCall(this.#pool, this.#pin, checkDeadline(deadlineMs), signal, ask);
    const logIndex = Number(gone.logIndex);
    this.#pool.raiseToken({ logIndex, incarnation: 0n });
    return { rows: Number(gone.forgotten), logIndex, floor: Number(gone.floor) };
  }

  /** Some rows, at one snapshot, in the order asked for; those that are forgotten or not there are left out. Errors:
   * `InvalidArgument`, `ReadError`; the signal's reason. */
  async get(call: GetCall): Promise<RowSet> {
    const { consistency = "session", withEmbedding = false } = call;
    const { rows, snapshot } = await this.#read(call, "get", {
      ...namedToWire(call),
      space: this.name,
      withEmbedding,
      consistency: levelToWire(consistency, this.#pool.token),
    });
    return new RowSet(rows.map(rowFromWire), this.#seen(snapshot));
  }

  /** Rows in log order, at one snapshot: `for await (const row of await space.list())`. Errors: `InvalidArgument`,
   * `ReadError`; the signal's reason. */
  async list(call: ListCall = {}): Promise<Listing> {
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    const request = listToWire(this.name, call, this.#pool);
    const plan = { pool: this.#pool, pin: this.#pin, deadlineMs: checkDeadline(deadlineMs), signal, request };
    const listing = await Listing.begin(plan);
    this.#saw(listing.snapshot);
    return listing;
  }

  /** How many rows the space has, all or those that a condition means. Errors: `InvalidArgument`, `ReadError`; the
   * signal's reason. */
  async count(call: CountCall = {}): Promise<Counted> {
    const { where, consistency = "session" } = call;
    const { count, snapshot } = await this.#read(call, "count", {
      space: this.name,
      consistency: levelToWire(consistency, this.#pool.token),
      ...(where === undefined ? {} : { filter: whereToWire(where) }),
    });
    return { count: Number(count), snapshot: this.#seen(snapshot) };
  }

  /** Follows what is committed after a log index, or from now on: `for await (const change of await space.watch())`.
   * Goes to another node when one is lost. Errors: `InvalidArgument`, `ReadError`; the signal's reason. */
  async watch(call: WatchCall = {}): Promise<Watcher> {
    const { afterLogIndex, where, withEmbedding = false, patienceMs = WATCH_PATIENCE_MS, signal } = call;
    checkAfter(afterLogIndex);
    const plan = {
      pin: this.#pin,
      space: this.name,
      afterLogIndex,
      filter: where === undefined ? undefined : whereToWire(where),
      withEmbedding,
      patienceMs: checkDeadline(patienceMs),
      signal,
    };
    const watcher = new Watcher(this.#pool, plan, (ended) => this.#watchers.delete(ended));
    this.#watchers.add(watcher);
    try {
      await watcher.connect();
    } catch (error) {
      await watcher.close();
      throw error instanceof Failure ? error.asReadError() : error;
    }
    return watcher;
  }

  /** @internal Ends stream and watches. What has no ack by now is in doubt. */
  async close(): Promise<void> {
    this.#closing.abort(new InvalidArgument("the client is closed; connect again"));
    const opened = await this.#opening?.catch(() => undefined);
    const watchers = [...this.#watchers].map((watcher) => watcher.close());
    await Promise.all([(opened ?? this.#observer)?.close(), ...watchers]);
  }

  async #read<C extends CallCase>(call: CallOptions, kind: C, value: CallValue<C>): Promise<CallAnswer<C>> {
    const { deadlineMs = this.#pool.timing.deadlineMs, signal } = call;
    try {
      return await readOf(this.#pool, this.#pin, checkDeadline(deadlineMs), signal, kind, value);
    } catch (error) {
      throw error instanceof Failure ? error.asReadError() : error;
    }
  }

  #seen(message: WireSnapshot | undefined): Snapshot {
    if (message === undefined) throw new ReadError("the answer has no snapshot; ask again");
    const snapshot = snapshotFromWire(message);
    this.#saw(snapshot);
    return snapshot;
  }

  /** Later reads of this client do not fall behind it. */
  #saw({ appliedIndex, incarnation }: Snapshot): void {
    this.#pool.raiseToken({ logIndex: appliedIndex, incarnation });
  }

  /** The stream, opened if there is none that goes on. Errors: `Refused`, as there is no session to take a row. */
  async #stream(limit: Limit, { deadlineMs }: CallOptions): Promise<Observer> {
    this.#pool.check();
    if (this.#observer !== undefined && this.#observer.stopped === undefined) return this.#observer;
    // Whoever comes first opens it, for all who come meanwhile: no signal of one of them ends it.
    this.#opening ??= this.#open(deadlineMs ?? this.#pool.timing.deadlineMs).finally(() => {
      this.#opening = undefined;
    });
    try {
      return await limit.race(this.#opening);
    } catch (error) {
      if (error instanceof Failure) throw error.asRefused();
      if (!(error instanceof Cut)) throw error;
      throw new Refused(`${error.message} before there was a session; nothing was sent`, { cause: error.reason });
    }
  }

  async #open(deadlineMs: number): Promise<Observer> {
    const { signal } = this.#closing;
    const [pool, pin, options, traceparent] = [this.#pool, this.#pin, this.#options, this.#traceparent];
    this.#observer = await openObserver(pool, pin, this, options, traceparent, deadlineMs, signal);
    return this.#observer;
  }

  #question(cue: Vector, k: number, call: RecallCall): Question {
    const { where, consistency, atIndex, ef = 0, scoreMin, withEmbedding = false } = call;
    if (!(Number.isInteger(k) && k >= 1 && k <= K_MAX)) throw new InvalidArgument(`k is ${k}; ask for 1 to ${K_MAX}`);
    if (!(Number.isInteger(ef) && ef >= 0 && ef <= EF_MAX)) {
      throw new InvalidArgument(`ef is ${ef}; at most ${EF_MAX}, or 0 for the server's default`);
    }
    if (Number.isNaN(scoreMin)) throw new InvalidArgument("scoreMin is not a number; no score reaches it");
    return {
      space: this.name,
      traceparent: this.#traceparent,
      cue: vectorToWire(cue, this.dim, "cue"),
      k,
      ef,
      withEmbedding,
      ...(where === undefined ? {} : { filter: whereToWire(where) }),
      ...(scoreMin === undefined ? {} : { scoreMin }),
      ...stateToWire(consistency, atIndex, this.#pool.token),
    };
  }
}
