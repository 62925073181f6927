// One call with its attempts: reads go on until an answer comes, the request proves wrong, or the time is over; writes
// only while an attempt surely had no effect.

import { Refused, Unknown } from "./errors.js";
import { Failure } from "./failure.js";
import { type Ask, type CallAnswer, type CallCase, callOf, type CallValue } from "./lane.js";
import type { Pool } from "./pool.js";
import { Route } from "./route.js";
import { Cut, Limit, now } from "./waits.js";

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

/** Writes once; goes on to another attempt only when the last one surely had no effect. Errors: `Refused`, `Unknown`,
 * with the signal's reason as `cause` when that aborts it. */
export async function writeCall<T>(
  pool: Pool,
  pin: string | undefined,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  ask: Ask<T>,
): Promise<T> {
  pool.check();
  const end = now() + deadlineMs;
  const route = new Route(pool, pin, true);
  const limit = new Limit(undefined, signal);
  let sent = false;
  try {
    for (;;) {
      limit.check();
      let waitMs: number;
      try {
        const budgetMs = Math.max(1, end - now());
        return await pool.lane(route.next()).ask(ask, budgetMs, limit, () => (sent = true));
      } catch (failure) {
        if (!(failure instanceof Failure)) throw failure;
        waitMs = route.failed(failure);
        const late = now() + waitMs >= end;
        if (!sent && late) {
          const text = `no connection, last to ${failure.message}; check the endpoints`;
          throw new Refused(text, { kind: "NOT_LEADER" });
        }
        if (sent && !failure.rejected) throw failure.asUnknown();
        if (sent && (late || !failure.worthAnotherTry)) throw failure.asRefused();
      }
      sent = false;
      await limit.sleep(waitMs);
      pool.check();
    }
  } catch (error) {
    if (!(error instanceof Cut)) throw error;
    const { message, reason: cause } = error;
    if (sent) throw new Unknown(`${message} before the answer; the request is on its way yet`, { cause });
    throw new Refused(`${message} before the request was sent`, { cause });
  } finally {
    limit.done();
  }
}

/** One call that reads, at any node. Errors: a `Failure`; the signal's reason. */
export function readOf<C extends CallCase>(
  pool: Pool,
  pin: string | undefined,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  kind: C,
  value: CallValue<C>,
): Promise<CallAnswer<C>> {
  const attempt: Attempt<CallAnswer<C>> = (address, budgetMs, limit) =>
    pool.lane(address).ask(callOf(kind, value), budgetMs, limit);
  return readCall(pool, pin, deadlineMs, signal, attempt);
}

/** Errors: `InvalidArgument`. */
export function checkDeadline(deadlineMs: number): number {
  new Limit(deadlineMs, undefined).done();
  return deadlineMs;
}
