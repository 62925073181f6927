// One exactly-once stream into a space: numbers what is pushed, keeps it until it is acked, and resumes by itself.
//
// `window` is the machine without I/O, `link` one live stream, `driver` what keeps the session connected.

import type { EngramError } from "./errors.js";
import type { Event, Stopped } from "./events.js";
import { Failure } from "./failure.js";
import type { SessionOpened } from "./gen/engram/v1/memory_pb.js";
import type { ObserveOptions } from "./options.js";
import type { Pool } from "./pool.js";
import type { Ack } from "./results.js";
import { Bell, type Limit } from "./waits.js";
import { Window } from "./window.js";

interface Waiting {
  readonly resolve: (ack: Ack) => void;
  readonly reject: (error: EngramError) => void;
}

/** What its owners and its driver share. */
export class Observer {
  readonly pool: Pool;
  readonly options: ObserveOptions;
  /** The trace that its rows belong to; empty: none. */
  readonly traceparent: string;
  readonly session: bigint;
  readonly incarnation: bigint;
  readonly window: Window;
  /** Called when rows came, or somebody is in a hurry. The link that is live sets it. */
  onWork: () => void = () => {};
  /** Somebody waits for acks or room: half a batch is better than none. */
  hurry = false;
  stopped: Stopped | undefined;
  resumes = 0;
  overloads = 0;
  readonly listeners = new Set<(event: Event) => void>();
  /** Ends the driver, and resolves once it has ended. */
  endDriver: () => Promise<void> = async () => {};
  /** Rung when rows left the window. */
  readonly #moved = new Bell();
  readonly #acks = new Map<number, Waiting>();

  /** Errors: `Over`. */
  constructor(pool: Pool, options: ObserveOptions, traceparent: string, opened: SessionOpened) {
    this.pool = pool;
    this.options = options;
    this.traceparent = traceparent;
    this.session = opened.session;
    this.incarnation = opened.incarnation;
    this.window = new Window(options);
    this.window.opened(opened);
  }

  /** Takes a row if there is room, and gives it its ticket. Errors: `Refused`, as the stream has ended. */
  tryPush(row: Uint8Array): number | undefined {
    if (this.stopped !== undefined) throw this.stopped.failure.asRefused();
    if (!this.window.hasRoom) return undefined;
    const ticket = this.window.push(row);
    // In between the link waits for its linger or for a full batch.
    if (this.window.unsent === 1 || this.window.unsent % this.options.batchRows === 0) this.onWork();
    return ticket;
  }

  /** The same, and waits while the window is full. Errors: also the limit's `Cut`; the row surely was not taken. */
  async push(row: Uint8Array, limit: Limit): Promise<number> {
    for (;;) {
      limit.check();
      const ticket = this.tryPush(row);
      if (ticket !== undefined) return ticket;
      this.#hasten();
      await limit.race(this.#moved.wait());
    }
  }

  /** Waits for the ack of a row that was pushed just now. Errors: `Refused`, `Unknown`; the limit's `Cut`. */
  async ackOf(ticket: number, limit: Limit): Promise<Ack> {
    const ack = new Promise<Ack>((resolve, reject) => this.#acks.set(ticket, { resolve, reject }));
    this.#hasten();
    try {
      return await limit.race(ack);
    } finally {
      this.#acks.delete(ticket);
    }
  }

  /** Waits until every row up to a ticket is acked or refused, or the stream has ended. Errors: the limit's `Cut`. */
  async settled(through: number, limit: Limit): Promise<void> {
    while (this.stopped === undefined && this.window.settledThrough < through) {
      this.#hasten();
      await limit.race(this.#moved.wait());
    }
  }

  /** Passes on what the window or the driver has to say. */
  tell(events: readonly Event[]): void {
    for (const event of events) {
      if (event.type === "acked") this.raiseToken(event.logIndex);
      else if (event.type === "resumed") this.resumes += 1;
      for (const listener of [...this.listeners]) listener(event);
      this.#answer(event);
    }
    if (events.length > 0) {
      this.#moved.ring();
      this.onWork();
    }
  }

  raiseToken(logIndex: number): void {
    this.pool.raiseToken({ logIndex, incarnation: this.incarnation });
  }

  /** Ends the stream for good; the first cause counts. None of its rows is sent again: under another session they could
   * be written twice. */
  stop(failure: Failure): void {
    if (this.stopped !== undefined) return;
    this.stopped = { type: "stopped", failure, unsentFrom: this.window.unsentFrom };
    this.tell([this.stopped]);
  }

  /** What has no ack by now is in doubt. */
  async close(): Promise<void> {
    this.stop(new Failure("the client was closed before the rows were acked"));
    await this.endDriver();
  }

  #hasten(): void {
    this.hurry = true;
    this.onWork();
  }

  #answer(event: Event): void {
    if (event.type === "acked" && event.settled) {
      const { firstTicket, lastTicket, firstSequence, logIndex, repeat } = event;
      for (let ticket = firstTicket; this.#acks.size > 0 && ticket <= lastTicket; ticket += 1) {
        this.#acks.get(ticket)?.resolve({ sequence: firstSequence + ticket - firstTicket, logIndex, repeat });
      }
    } else if (event.type === "refused") {
      this.#acks.get(event.ticket)?.reject(event.failure.asRefused());
    } else if (event.type === "stopped") {
      for (const [ticket, { reject }] of this.#acks) {
        reject(ticket >= event.unsentFrom ? event.failure.asRefused() : event.failure.asUnknown());
      }
    }
  }
}
