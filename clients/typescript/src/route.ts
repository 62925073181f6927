// Where to go next: the leader hint, or the endpoints in turn, with jittered exponential back-off.
//
// A pinned route knows one address and follows nothing.

import type { Failure } from "./failure.js";
import type { Pool } from "./pool.js";

/** Hints followed in a row; then the endpoints are tried in turn again. */
const HINTS_IN_A_ROW_MAX = 3;
/** The longest wait that a server's retryAfterMs may ask for. */
export const RETRY_AFTER_MS_MAX = 60_000;
const DOUBLINGS_MAX = 16;

/** The attempts of one operation. Streams prefer the leader, reads spread over the endpoints. */
export class Route {
  /** Where the last attempt went. */
  last = "";
  readonly #pool: Pool;
  readonly #pin: string | undefined;
  #cursor: number;
  #hint: string | undefined;
  #hintsInARow = 0;
  #failures = 0;

  constructor(pool: Pool, pin: string | undefined, toLeader: boolean) {
    const [number, count] = [pool.operation(), pool.endpoints.length];
    this.#pool = pool;
    this.#pin = pin;
    this.#cursor = toLeader ? Math.floor(pool.random() * count) : number % count;
    this.#hint = toLeader ? pool.leader : undefined;
  }

  /** The address to try now. */
  next(): string {
    const hint = this.#hint;
    this.#hint = undefined;
    if (this.#pin !== undefined) {
      this.last = this.#pin;
    } else if (hint !== undefined) {
      this.#hintsInARow += 1;
      this.last = hint;
    } else {
      const { endpoints } = this.#pool;
      this.#hintsInARow = 0;
      this.#cursor = (this.#cursor + 1) % endpoints.length;
      this.last = endpoints[this.#cursor] ?? "";
    }
    return this.last;
  }

  /** A hint that came with good news: where to go if this connection breaks. */
  prefer(leaderAddress: string): void {
    const hint = this.#pool.hint(leaderAddress);
    if (hint !== this.last) this.#hint = hint;
  }

  /** The next failure counts as the first one. */
  progressed(): void {
    this.#failures = this.#hintsInARow = 0;
  }

  /** Takes note of a failure; the answer is how many milliseconds to wait before the next attempt. */
  failed(failure: Failure): number {
    this.#pool.forget(this.last);
    let atOnce = false;
    const hint = this.#pool.hint(failure.leaderAddress);
    if (hint !== undefined && hint !== this.last && this.#hintsInARow < HINTS_IN_A_ROW_MAX) {
      atOnce = this.#failures === 0 && failure.kind === "NOT_LEADER" && this.#pin === undefined;
      this.#hint = hint;
    }
    const { backoffMinMs, backoffMaxMs } = this.#pool.timing;
    const doubled = Math.min(backoffMinMs * 2 ** Math.min(this.#failures, DOUBLINGS_MAX), backoffMaxMs);
    const backoff = doubled * (0.5 + this.#pool.random() / 2);
    this.#failures += 1;
    const asked = Math.min(failure.retryAfterMs, RETRY_AFTER_MS_MAX);
    return atOnce ? asked : Math.max(backoff, asked);
  }
}
