// Following a space from any node, over the loss of nodes: each row once, in log order.
//
// A WebSocket cannot be read slower than it comes, in browsers at least. So each watch has a connection of its own; one
// whose pages wait too long is left, and begun again where the consumer is once he has taken what waits.

import { readCall } from "./call.js";
import { tokenToWire } from "./consistency.js";
import { InvalidArgument } from "./errors.js";
import { Failure } from "./failure.js";
import { watchFrame } from "./frames.js";
import type { WatchRowsResponse } from "./gen/engram/v1/memory_pb.js";
import type { WatchResponse } from "./gen/engram/v1/rows_pb.js";
import type { Filter } from "./gen/engram/v1/types_pb.js";
import type { Pool } from "./pool.js";
import { type Change, changeFromWire } from "./results.js";
import { type Received, type Socket, silent } from "./socket.js";
import { Bell, Limit, now } from "./waits.js";

/** A server breaks its silence every 10 s. */
const SERVER_SILENCE_MS_MAX = 15_000;
/** Bytes of pages that wait for the consumer. */
const WAITING_BYTES_MAX = 8 << 20;

/** @internal */
export interface WatchPlan {
  readonly pin: string | undefined;
  readonly space: string;
  readonly afterLogIndex: number | undefined;
  readonly filter: Filter | undefined;
  readonly withEmbedding: boolean;
  readonly patienceMs: number;
  readonly signal: AbortSignal | undefined;
}

/** A watch that is under way; an asynchronous iterator of `Change`. Ends with `close`, or when a `for await` is left.
 * */
export class Watcher implements AsyncIterableIterator<Change> {
  readonly #pool: Pool;
  readonly #plan: WatchPlan;
  readonly #ended: (watcher: Watcher) => void;
  #afterLogIndex: number | undefined;
  /** The row after the last that was given: rows before it are repeats. */
  #nextRow = 0;
  #socket: Socket | undefined;
  #pages: { page: WatchResponse; bytes: number }[] = [];
  #waitingBytes = 0;
  #failure: Failure | undefined;
  #closed = false;
  readonly #came = new Bell();
  /** The answer that was asked for last: they are given one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(pool: Pool, plan: WatchPlan, ended: (watcher: Watcher) => void) {
    this.#pool = pool;
    this.#plan = plan;
    this.#afterLogIndex = plan.afterLogIndex;
    this.#ended = ended;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** What comes next; with neither rows nor forgets it says how far the space has come. Goes to another node when one
   * is lost. Errors: `ReadError`, with the kind NOT_FOUND when the space is dropped; the signal's reason. */
  next(): Promise<IteratorResult<Change, undefined>> {
    const next = this.#last.then(() => this.#next());
    this.#last = next.catch(() => {});
    return next;
  }

  /** Ends the watch. */
  async return(): Promise<IteratorResult<Change, undefined>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /** Ends the watch; whoever waits for what comes next is told that nothing does. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#ended(this);
    this.#pages = [];
    const socket = this.#socket;
    this.#socket = undefined;
    this.#came.ring();
    await socket?.close();
  }

  /** @internal Connects to a node that watches already. Errors: a `Failure`, once patience is at its end. */
  async connect(): Promise<void> {
    const { pin, patienceMs, signal } = this.#plan;
    await readCall(this.#pool, pin, patienceMs, signal, async (address, budgetMs, limit) => {
      const end = now() + budgetMs;
      const socket = await this.#pool.dial(address, budgetMs, limit);
      try {
        socket.send(watchFrame(this.#request()));
        // A first page comes at once, if only to say where the watch begins.
        const first = await socket.first(Math.max(1, end - now()), limit);
        this.#failure = undefined;
        this.#receive(first, 0);
        if (this.#failure !== undefined) throw this.#failure;
        this.#socket = socket;
        socket.listen(
          (message, bytes) => this.#receive(message, bytes),
          (failure) => this.#fail(failure),
        );
      } catch (error) {
        this.#leave();
        socket.abandon();
        throw error;
      }
    });
  }

  #request() {
    const { space, filter, withEmbedding } = this.#plan;
    return {
      space,
      withEmbedding,
      atLeast: tokenToWire(this.#pool.token),
      ...(filter === undefined ? {} : { filter }),
      ...(this.#afterLogIndex === undefined ? {} : { afterLogIndex: BigInt(this.#afterLogIndex) }),
    };
  }

  #receive(message: Received, bytes: number): void {
    if (message.case !== "watch") return;
    const { outcome }: WatchRowsResponse = message.value;
    if (outcome.case === "error") {
      this.#fail(Failure.of(outcome.value));
    } else if (outcome.case === "page") {
      // "From now on" is fixed once: it must not move on with a node that is lost.
      if (outcome.value.logIndex > 0n) this.#afterLogIndex ??= Number(outcome.value.logIndex);
      // What a restart repeats does not count: it would never come to an end.
      const fresh = outcome.value.logIndex > 0n || outcome.value.rows.some(({ row }) => Number(row) >= this.#nextRow);
      if (!fresh && outcome.value.forgotten.length === 0) return;
      const counted = fresh ? bytes : 0;
      this.#pages.push({ page: outcome.value, bytes: counted });
      this.#waitingBytes += counted;
      if (this.#waitingBytes > WAITING_BYTES_MAX) this.#leave();
      this.#came.ring();
    }
  }

  #fail(failure: Failure): void {
    this.#failure = failure;
    this.#came.ring();
  }

  /** Leaves the connection; what has come stays. */
  #leave(): void {
    this.#socket?.abandon();
    this.#socket = undefined;
  }

  async #next(): Promise<IteratorResult<Change, undefined>> {
    const limit = new Limit(undefined, this.#plan.signal);
    try {
      for (;;) {
        if (this.#closed) return { done: true, value: undefined };
        limit.check();
        const waiting = this.#pages.shift();
        if (waiting !== undefined) return { done: false, value: this.#take(waiting) };
        if (this.#failure !== undefined) this.#break(this.#failure);
        else if (this.#socket === undefined) await this.connect();
        else await this.#wait(this.#socket, limit);
      }
    } catch (error) {
      const closed = this.#closed;
      await this.close();
      if (closed) return { done: true, value: undefined };
      this.#plan.signal?.throwIfAborted();
      throw error instanceof Failure ? error.asReadError() : error;
    } finally {
      limit.done();
    }
  }

  #take({ page, bytes }: { page: WatchResponse; bytes: number }): Change {
    this.#waitingBytes -= bytes;
    const change = changeFromWire(page, this.#nextRow);
    this.#nextRow = (change.rows.at(-1)?.row ?? this.#nextRow - 1) + 1;
    if (change.logIndex > 0) this.#afterLogIndex = change.logIndex;
    return change;
  }

  /** Errors: the failure, if another node would say the same. */
  #break(failure: Failure): void {
    this.#leave();
    this.#failure = undefined;
    if (!failure.worthAnotherTry) throw failure;
  }

  /** Until something came. */
  async #wait(socket: Socket, limit: Limit): Promise<void> {
    const silenceMs = Math.max(this.#pool.timing.silenceMs, SERVER_SILENCE_MS_MAX);
    const timer = setTimeout(() => this.#fail(silent(socket.address, silenceMs)), silenceMs);
    try {
      await limit.race(this.#came.wait());
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Errors: `InvalidArgument`. */
export function checkAfter(afterLogIndex: number | undefined): void {
  if (afterLogIndex === undefined || (Number.isSafeInteger(afterLogIndex) && afterLogIndex >= 0)) return;
  throw new InvalidArgument(`afterLogIndex is ${afterLogIndex}; give a log index`);
}
