// Time and waiting: the clock, sleeps, deadlines, and the signals of callers.

import { InvalidArgument } from "./errors.js";

/** Milliseconds of a clock that never steps. */
export function now(): number {
  return performance.now();
}

/** Why a wait ended before what it waited for: its deadline has passed, or the caller's signal says so. */
export class Cut extends Error {
  /** The signal's reason; `undefined`: the deadline. */
  readonly reason: unknown;

  constructor(reason?: unknown) {
    super(reason === undefined ? "the deadline has passed" : "the call was aborted");
    this.reason = reason;
  }
}

/** How long a caller waits: to a deadline, to his signal, or both. Whoever makes one calls `done`. */
export class Limit {
  #cut: Cut | undefined;
  readonly #waiting = new Set<(cut: Cut) => void>();
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #bounded: boolean;
  readonly #aborted = () => this.#end(new Cut(this.#signal?.reason ?? "aborted"));

  /** Errors: `InvalidArgument` for a deadline that is no positive number of milliseconds. */
  constructor(deadlineMs: number | undefined, signal: AbortSignal | undefined) {
    if (deadlineMs !== undefined && !(deadlineMs > 0)) {
      throw new InvalidArgument(`deadlineMs is ${deadlineMs}; give a positive number of milliseconds`);
    }
    this.#bounded = deadlineMs !== undefined || signal !== undefined;
    this.#signal = signal;
    this.#timer = later(deadlineMs ?? Infinity, () => this.#end(new Cut()));
    if (signal?.aborted) this.#aborted();
    else signal?.addEventListener("abort", this.#aborted);
  }

  /** Throws the `Cut` once there is one. */
  check(): void {
    if (this.#cut !== undefined) throw this.#cut;
  }

  /** What the promise gives, unless this ends before: then a `Cut`. The work itself goes on. */
  race<T>(work: Promise<T>): Promise<T> {
    if (!this.#bounded) return work;
    return new Promise((resolve, reject) => {
      const cut = this.onCut(reject);
      const settle =
        <V>(how: (value: V) => void) =>
        (value: V) => (cut(), how(value));
      work.then(settle(resolve), settle<unknown>(reject));
    });
  }

  /** Resolves after so many milliseconds. Errors: the `Cut`. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => (forget(), resolve()), ms);
      const forget = this.onCut((cut) => (clearTimeout(timer), reject(cut)));
    });
  }

  /** Calls back at the end, or soon if that has been; the answer takes that back. */
  onCut(told: (cut: Cut) => void): () => void {
    const cut = this.#cut;
    if (cut !== undefined) queueMicrotask(() => told(cut));
    else this.#waiting.add(told);
    return () => this.#waiting.delete(told);
  }

  done(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#aborted);
    this.#waiting.clear();
  }

  #end(cut: Cut): void {
    this.#cut ??= cut;
    const waiting = [...this.#waiting];
    this.done();
    for (const told of waiting) told(cut);
  }
}

/** Who waits hears the next ring. */
export class Bell {
  #waiting: (() => void)[] = [];

  ring(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** A timer that may be endless; platforms' own fire at once when the time is over 2^31 ms. */
export function later(ms: number, act: () => void): ReturnType<typeof setTimeout> | undefined {
  return ms < 2 ** 31 ? setTimeout(act, ms) : undefined;
}

/** Calls back once the events that wait now had their turn. No timer: those of pages in the background are held back.
 * */
export const soon: (act: () => void) => void = (() => {
  const { setImmediate } = globalThis as { setImmediate?: (act: () => void) => void };
  if (setImmediate !== undefined) return setImmediate;
  const { port1, port2 } = new MessageChannel();
  const acts: (() => void)[] = [];
  port1.onmessage = () => acts.shift()?.();
  return (act: () => void) => {
    acts.push(act);
    port2.postMessage(null);
  };
})();
