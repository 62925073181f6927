// One `observeMany`: pushes rows, counts what becomes of them, and tells it at the end.

import { EngramError, Refused, Unknown } from "./errors.js";
import type { Event } from "./events.js";
import type { Observer } from "./observer.js";
import type { RefusedRow, Summary } from "./results.js";
import { type RowLike, rowToWire } from "./rows.js";
import { Cut, type Limit, soon } from "./waits.js";

/** Refused rows that are told one by one; more of them end the load. */
const REFUSED_MAX = 1000;
/** Rows after which a source that never waits lets the stream do its work. */
const ROWS_AT_ONCE = 256;

/** Rows of one load have ascending tickets, though not consecutive ones where others use the stream too. */
export class Load {
  readonly #observer: Observer;
  readonly #limit: Limit;
  readonly #progress: ((acked: number) => void) | undefined;
  /** Of each row that has no outcome yet: its place in the load, by ticket. As bounded as the window. */
  readonly #places = new Map<number, number>();
  #rows = 0;
  #acked = 0;
  #lost = 0;
  #lastTicket = 0;
  readonly #refused: RefusedRow[] = [];
  readonly #unknown: number[] = [];
  readonly #unsent: number[] = [];
  /** What `progress` threw: it ends the load, as what the source throws does. */
  #threw: { error: unknown } | undefined;
  readonly #resumesBefore: number;
  readonly #hear = (event: Event) => this.#note(event);

  constructor(observer: Observer, limit: Limit, progress: ((acked: number) => void) | undefined) {
    this.#observer = observer;
    this.#limit = limit;
    this.#progress = progress;
    this.#resumesBefore = observer.resumes;
  }

  /** All of it. Errors: `EngramError` with the summary; whatever the source throws, once the rows before it are
   * settled. */
  async run(source: Iterator<RowLike> | AsyncIterator<RowLike>, dim: number): Promise<Summary> {
    this.#observer.listeners.add(this.#hear);
    let failed: { error: unknown } | undefined;
    try {
      await this.#pushAll(source, dim);
    } catch (error) {
      failed = { error };
    }
    try {
      if (!(failed?.error instanceof Cut)) await this.#observer.settled(this.#lastTicket, this.#limit);
    } catch (error) {
      failed = { error };
    } finally {
      this.#observer.listeners.delete(this.#hear);
    }
    failed ??= this.#threw;
    this.#unknown.push(...this.#places.values());
    const summary = this.#summary();
    const error = this.#verdict(summary, failed);
    if (error === undefined) return summary;
    if (error instanceof EngramError) error.summary = summary;
    throw error;
  }

  async #pushAll(source: Iterator<RowLike> | AsyncIterator<RowLike>, dim: number): Promise<void> {
    let ended = false;
    try {
      for (;;) {
        this.#limit.check();
        if (this.#threw !== undefined) throw this.#threw.error;
        const next = source.next();
        const { done, value } = next instanceof Promise ? await this.#limit.race(next) : await next;
        if (done === true) {
          ended = true;
          return;
        }
        await this.#push(rowToWire(value, dim, `row ${this.#rows}`));
      }
    } finally {
      // As `for await` would, but without a wait: a source that hangs shall not hold the caller.
      if (!ended) void Promise.resolve(source.return?.()).catch(() => {});
    }
  }

  async #push(row: Uint8Array): Promise<void> {
    const [first] = this.#refused;
    if (first !== undefined && this.#refused.length >= REFUSED_MAX) throw first.error;
    const ticket = this.#observer.tryPush(row) ?? (await this.#observer.push(row, this.#limit));
    this.#places.set(ticket, this.#rows);
    this.#lastTicket = ticket;
    this.#rows += 1;
    if (this.#rows % ROWS_AT_ONCE === 0) await new Promise<void>((resolve) => soon(resolve));
  }

  #summary(): Summary {
    return {
      rows: this.#rows,
      acked: this.#acked,
      lost: this.#lost,
      refused: this.#refused,
      unknown: this.#unknown,
      unsent: this.#unsent,
      resumes: this.#observer.resumes - this.#resumesBefore,
      token: this.#observer.pool.token,
    };
  }

  #verdict({ rows, unknown, unsent, refused }: Summary, failed: { error: unknown } | undefined): unknown {
    const stopped = this.#observer.stopped?.failure;
    const cut = failed?.error instanceof Cut ? failed.error : undefined;
    // What the source threw, or asked for by a row that is wrong.
    if (failed !== undefined && cut === undefined && !(failed.error instanceof EngramError)) return failed.error;
    if (unknown.length > 0) {
      const why = stopped?.message ?? `${cut?.message ?? "the load has ended"}; they are on their way yet`;
      const kind = stopped?.kind ?? "UNSPECIFIED";
      return new Unknown(`${unknown.length} rows, from row ${unknown[0]} on: ${why}`, { kind, cause: cut?.reason });
    }
    if (cut !== undefined) {
      return new Refused(`${cut.message}; the rows from row ${rows} on were not sent`, { cause: cut.reason });
    }
    if (failed !== undefined) return failed.error;
    if (unsent.length > 0 && stopped !== undefined) return stopped.asRefused();
    const [first] = refused;
    if (first === undefined) return undefined;
    const text = `${refused.length} of ${rows} rows were refused, first row ${first.index}: ${first.error.message}`;
    return new Refused(text, { kind: first.error.kind });
  }

  #note(event: Event): void {
    if (event.type === "acked" && event.settled) {
      const before = this.#acked;
      for (let ticket = event.firstTicket; ticket <= event.lastTicket; ticket += 1) {
        if (this.#places.delete(ticket)) this.#acked += 1;
      }
      if (this.#acked > before) this.#tell(this.#acked);
    } else if (event.type === "refused") {
      const index = this.#places.get(event.ticket);
      if (index === undefined) return;
      this.#places.delete(event.ticket);
      this.#refused.push({ index, error: event.failure.asRefused() });
    } else if (event.type === "lost") {
      this.#lost += event.rows;
    } else if (event.type === "stopped") {
      for (const [ticket, index] of this.#places) {
        (ticket >= event.unsentFrom ? this.#unsent : this.#unknown).push(index);
      }
      this.#places.clear();
    }
  }

  #tell(acked: number): void {
    try {
      this.#progress?.(acked);
    } catch (error) {
      this.#threw ??= { error };
    }
  }
}

/** One row and its ack. Errors: `Refused`, `Unknown`. */
export async function observeOne(observer: Observer, row: Uint8Array, limit: Limit) {
  let ticket: number;
  try {
    ticket = await observer.push(row, limit);
  } catch (cut) {
    if (!(cut instanceof Cut)) throw cut;
    throw new Refused(`${cut.message} before there was room; the observation was not sent`, { cause: cut.reason });
  }
  try {
    return await observer.ackOf(ticket, limit);
  } catch (cut) {
    if (!(cut instanceof Cut)) throw cut;
    throw new Unknown(`${cut.message} before the ack; the observation is on its way yet`, { cause: cut.reason });
  }
}
