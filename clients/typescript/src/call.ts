// One read with its attempts: they go on until an answer comes, the request proves wrong, or the time is over.

import { Failure } from "./failure.js";
import type { Pool } from "./pool.js";
import { Route } from "./route.js";
import { Limit, now } from "./waits.js";

/** What to do at an address, and for how many milliseconds it may take. Errors: a `Failure`, or the limit's `Cut`. */
export type Attempt<T> = (address: string, budgetMs: number, limit: Limit) => Promise<T>;

/** Errors: the last attempt's `Failure`; where the deadline has cut that one short, the last that a server gave. The
 * reason of the signal, when that aborts it. */
export async function readCall<T>(
  pool: Pool,
  pin: string | undefined,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  attempt: Attempt<T>,
  toLeader = false,
): Promise<T> {
  pool.check();
  signal?.throwIfAborted();
  const end = now() + deadlineMs;
  const route = new Route(pool, pin, toLeader);
  // The deadline is that of the attempts' budgets: they say more than that it has passed.
  const limit = new Limit(undefined, signal);
  let told: Failure | undefined;
  try {
    for (;;) {
      const budgetMs = Math.min(Math.max(1, end - now()), pool.timing.silenceMs);
      const address = route.next();
      let waitMs: number;
      try {
        return await attempt(address, budgetMs, limit);
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        waitMs = route.failed(failure);
        if (!failure.worthAnotherTry || now() + waitMs >= end) {
          const cutShort = failure.broken && budgetMs < pool.timing.silenceMs;
          throw cutShort && told !== undefined ? told : failure;
        }
        if (!failure.broken) told = failure;
      }
      await limit.sleep(waitMs);
      pool.check();
    }
  } catch (error) {
    // What a signal ends is said in its own words.
    signal?.throwIfAborted();
    throw error;
  } finally {
    limit.done();
  }
}

/** Errors: `InvalidArgument`. */
export function checkDeadline(deadlineMs: number): number {
  new Limit(deadlineMs, undefined).done();
  return deadlineMs;
}
