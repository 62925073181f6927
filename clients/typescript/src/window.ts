// The rows that are pushed and not acked yet, as a machine without I/O: numbering, credit, acks, refusals, resumes.
//
// A row's number is its place: the front of the window is `acked + 1`. Dropping a refused row therefore moves the later
// ones up, which is what the server expects: it took none of them.
//
// Invariants: `once_per_sequence` (a number goes to another observation only after a refusal that names it as the
// expected one, so that nothing at or after it was taken); `one_attempt_pending` (a row is sent again on the same
// stream only after its earlier attempt was refused); `window_bounded`.

import type { Acked, Event, RowRefused } from "./events.js";
import { Broken, Failure, Over, Superseded } from "./failure.js";
import { STAGES } from "./frames.js";
import {
  type Ack,
  AckStage,
  type FlowControl,
  FlowKind,
  type Refused,
  type SessionOpened,
} from "./gen/engram/v1/memory_pb.js";
import { WriteClass } from "./gen/engram/v1/types_pb.js";
import type { ObserveOptions } from "./options.js";
import { RETRY_AFTER_MS_MAX } from "./route.js";

interface Slot {
  readonly ticket: number;
  readonly row: Uint8Array;
}

/** Consecutive rows to send. */
export interface Batch {
  readonly firstSequence: number;
  readonly rows: readonly Uint8Array[];
}

export class Window {
  /** The front row's sequence, less one. */
  acked = 0;
  /** The ticket of the row that was pushed last. */
  lastTicket = 0;
  paused = false;
  readonly #options: ObserveOptions;
  readonly #stage: AckStage;
  readonly #slots: Slot[] = [];
  #bytes = 0;
  /** So many rows from the front are in flight on this stream, with so many bytes. */
  #sent = 0;
  #sentBytes = 0;
  /** Highest ticket that was ever in flight: what is above surely was not taken. */
  #sentTicket = 0;
  #creditRows: number;
  #creditBytes: number;
  /** Rows in flight that the client allows itself: fewer while the server asks for less. */
  #paceRows: number;

  constructor(options: ObserveOptions) {
    this.#options = options;
    this.#stage = STAGES[options.stage];
    this.#creditRows = this.#paceRows = options.windowRows;
    this.#creditBytes = options.windowBytes;
  }

  /** Room for one more row; an empty window takes a row of any size. */
  get hasRoom(): boolean {
    const { windowRows, windowBytes } = this.#options;
    return this.#slots.length === 0 || (this.#slots.length < windowRows && this.#bytes < windowBytes);
  }

  /** Rows that are neither acked nor refused. */
  get length(): number {
    return this.#slots.length;
  }

  get inFlight(): number {
    return this.#sent;
  }

  get unsent(): number {
    return this.#slots.length - this.#sent;
  }

  /** The highest ticket up to which everything is acked or refused. */
  get settledThrough(): number {
    return (this.#slots[0]?.ticket ?? this.lastTicket + 1) - 1;
  }

  /** From this ticket on nothing was taken, for sure. */
  get unsentFrom(): number {
    return this.#slots.find(({ ticket }) => ticket > this.#sentTicket)?.ticket ?? this.lastTicket + 1;
  }

  /** Takes a row and gives it its ticket. The caller has seen `hasRoom`. */
  push(row: Uint8Array): number {
    this.lastTicket += 1;
    this.#bytes += row.length;
    this.#slots.push({ ticket: this.lastTicket, row });
    return this.lastTicket;
  }

  /** The next rows to send: as many as batch, credit and pace allow. Under any credit but none, one row may go. */
  nextBatch(): Batch | undefined {
    if (this.paused || this.#creditRows === 0) return undefined;
    const { batchRows, batchBytes, windowBytes } = this.#options;
    const rowsMax = Math.min(this.#creditRows, this.#paceRows);
    const bytesMax = Math.min(this.#creditBytes, windowBytes);
    const first = this.#sent;
    const rows: Uint8Array[] = [];
    let bytes = 0;
    for (let slot = this.#slots[first]; slot !== undefined; slot = this.#slots[this.#sent]) {
      const size = slot.row.length;
      const full = rows.length >= batchRows || bytes + size > batchBytes;
      const over = this.#sent >= rowsMax || this.#sentBytes + size > bytesMax;
      if ((rows.length > 0 && full) || (this.#sent > 0 && over)) break;
      bytes += size;
      this.#sentBytes += size;
      this.#sentTicket = Math.max(this.#sentTicket, slot.ticket);
      this.#sent += 1;
      rows.push(slot.row);
    }
    return rows.length === 0 ? undefined : { firstSequence: this.acked + 1 + first, rows };
  }

  /** A stream was opened or resumed: its `lastSequence` is the truth about everything sent before. Errors: `Over`. */
  opened({ session, lastSequence, lastLogIndex, credit }: SessionOpened): Event[] {
    this.#sent = this.#sentBytes = 0;
    this.paused = false;
    this.#paceRows = this.#options.windowRows;
    if (credit !== undefined) this.#credit(credit);
    const last = Number(lastSequence);
    if (last > this.acked + this.#everSent()) {
      const text = `session ${session} stands at ${last}, which this client never sent; another one writes to it`;
      throw new Over(new Failure(text));
    }
    if (last >= this.acked) return this.#settle(last, Number(lastLogIndex), AckStage.COMMITTED, true);
    if (this.#stage !== AckStage.RECEIVED) {
      const text = `rows ${last + 1} to ${this.acked} were acked as committed and are gone; call the operator`;
      throw new Over(new Failure(text));
    }
    const rows = this.acked - last;
    this.acked = last;
    return [{ type: "lost", rows }];
  }

  /** The server acked rows that are in flight. Errors: `Broken` for anything else. */
  ack({ firstSequence, lastSequence, logIndex, stage, repeat }: Ack): Event[] {
    const [first, last, sentThrough] = [Number(firstSequence), Number(lastSequence), this.acked + this.#sent];
    if (first > last || last > sentThrough) {
      throw new Broken(new Failure(`an ack for ${first} to ${last}, but only ${sentThrough} was sent; resuming`));
    }
    if (stage < this.#stage) {
      return this.#ackedEvents(Math.max(first, this.acked + 1), last, Number(logIndex), stage, repeat);
    }
    if (first > this.acked + 1) {
      throw new Broken(new Failure(`an ack for ${first}, but ${this.acked + 1} has none; resuming`));
    }
    return this.#settle(last, Number(logIndex), stage, repeat);
  }

  /** The server refused a row; it drops what follows until the expected number comes again. The answer is what to tell,
   * or how many milliseconds to wait. Errors: `Broken`, `Superseded`, `Over`. */
  refused(refused: Refused): RowRefused | number | undefined {
    const detail = refused.error;
    const failure = detail === undefined ? new Failure("a refusal without a reason") : Failure.of(detail);
    const [sequence, expected] = [Number(refused.sequence), Number(refused.expected)];
    checkOfOneRow(failure, detail?.class === WriteClass.UNKNOWN);
    // A row after a refused one, which was told before: it goes again with that one.
    if (sequence > expected) return undefined;
    if (sequence < expected) {
      const text = `${sequence} is in the session with another payload (${failure.message}); another one writes to it`;
      throw new Over(new Failure(text));
    }
    const waitMs = Math.min(Math.max(1, failure.retryAfterMs), RETRY_AFTER_MS_MAX);
    const invalid = failure.kind === "INVALID";
    if (!invalid) this.#slowDown();
    const place = expected - (this.acked + 1);
    const slot = place < this.#sent ? this.#slots[place] : undefined;
    if (slot === undefined) {
      if (!invalid) return waitMs;
      const text = `a refusal of ${sequence}, which is not in flight (${failure.message}); resuming`;
      throw new Broken(new Failure(text));
    }
    this.#rewind(place);
    if (!invalid) return waitMs;
    this.#slots.splice(place, 1);
    this.#bytes -= slot.row.length;
    return { type: "refused", ticket: slot.ticket, failure };
  }

  /** Credit is a limit on what is in flight, not an increment. Unknown kinds are ignored. */
  flow(flow: FlowControl): void {
    if (flow.kind === FlowKind.CREDIT || flow.creditRows > 0) this.#credit(flow);
    if (flow.kind === FlowKind.PAUSE) this.paused = true;
    else if (flow.kind === FlowKind.RESUME) this.paused = false;
    else if (flow.kind === FlowKind.SLOWER) this.#slowDown();
    else if (flow.kind === FlowKind.FASTER) {
      this.#paceRows = Math.min(this.#paceRows * 2, this.#options.windowRows);
    }
  }

  /** The session is over, and stood at `lastSequence` if that is known: then nothing after it was taken. */
  lost(lastSequence: number | undefined): Event[] {
    if (lastSequence === undefined) return [];
    const last = Math.min(lastSequence, this.acked + this.#everSent());
    const events = this.#settle(last, 0, AckStage.COMMITTED, true);
    this.#sentTicket = this.settledThrough;
    return events;
  }

  #credit({ creditRows, creditBytes }: FlowControl): void {
    this.#creditRows = creditRows;
    this.#creditBytes = Number(creditBytes);
  }

  /** Rows at the front that were in flight at some time. */
  #everSent(): number {
    const at = this.#slots.findIndex(({ ticket }) => ticket > this.#sentTicket);
    return at < 0 ? this.#slots.length : at;
  }

  /** Takes the rows through `last` out; the caller has checked that they are there. */
  #settle(last: number, logIndex: number, stage: AckStage, repeat: boolean): Event[] {
    const count = last - this.acked;
    if (count <= 0) return [];
    const events = this.#ackedEvents(this.acked + 1, last, logIndex, stage, repeat);
    for (const [at, { row }] of this.#slots.splice(0, count).entries()) {
      this.#bytes -= row.length;
      if (at < this.#sent) this.#sentBytes -= row.length;
    }
    this.#sent = Math.max(0, this.#sent - count);
    // A pace that was halved recovers even if the server never says "faster".
    this.#paceRows = Math.min(this.#paceRows + count, this.#options.windowRows);
    this.acked = last;
    return events;
  }

  /** One event for each run of tickets without a hole. */
  #ackedEvents(first: number, last: number, logIndex: number, stage: AckStage, repeat: boolean): Event[] {
    const events: Acked[] = [];
    const settled = stage >= this.#stage;
    for (let sequence = first; sequence <= last; sequence += 1) {
      const ticket = this.#slots[sequence - this.acked - 1]?.ticket;
      if (ticket === undefined) break;
      const run = events.at(-1);
      if (run !== undefined && run.lastTicket + 1 === ticket) run.lastTicket = ticket;
      else {
        const [firstTicket, lastTicket, firstSequence] = [ticket, ticket, sequence];
        events.push({ type: "acked", firstTicket, lastTicket, firstSequence, logIndex, repeat, settled });
      }
    }
    return events;
  }

  /** Half of what is in flight now. */
  #slowDown(): void {
    this.#paceRows = Math.max(1, Math.floor(Math.min(this.#paceRows, this.#sent) / 2));
  }

  /** The rows from `place` on are to be sent again. */
  #rewind(place: number): void {
    for (const { row } of this.#slots.slice(place, this.#sent)) this.#sentBytes -= row.length;
    this.#sent = place;
  }
}

/** Errors: what ends or breaks the stream. Other refusals leave it as it is. */
function checkOfOneRow(failure: Failure, unknown: boolean): void {
  if (failure.kind === "SUPERSEDED") throw new Superseded(failure);
  if (["SESSION_LOST", "NOT_FOUND", "UNSUPPORTED"].includes(failure.kind)) throw new Over(failure);
  if (!["INVALID", "OVERLOADED"].includes(failure.kind) || unknown) throw new Broken(failure);
}
