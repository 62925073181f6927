// One live stream of a session: acks in, batches out, and the watch over silence.

import { Broken, Failure, faultOf, Over } from "./failure.js";
import { batchFrame, type Frame } from "./frames.js";
import { AckStage, type ObserveResponse, type SessionOpened } from "./gen/engram/v1/memory_pb.js";
import type { Observer } from "./observer.js";
import type { Pool } from "./pool.js";
import type { Received, Socket } from "./socket.js";
import { type Limit, now, soon } from "./waits.js";

/** A stream that may not send (paused, no credit), or hears no more than hints, is silent after so many times the
 * usual. */
const PATIENCE = 6;
/** A timer that rings so late tells of a loop that stood still, not of a silent peer. */
const LATE_MS = 1000;

/** A stream that is open. Whoever has it calls `run`, and `close` in any case. */
export class Link {
  readonly opened: SessionOpened;
  /** Whether any row was acked or refused here. */
  progressed = false;
  readonly #socket: Socket;
  #end: ((fault: Broken) => void) | undefined;
  #suspect = false;
  #heard = now();
  #moved = now();
  #holdUntil = 0;
  #unsentSince: number | undefined;
  #scheduled = false;
  #sending: ReturnType<typeof setTimeout> | undefined;
  #watching: ReturnType<typeof setTimeout> | undefined;

  private constructor(socket: Socket, opened: SessionOpened) {
    this.#socket = socket;
    this.opened = opened;
  }

  /** Connects, sends the first message and waits for `SessionOpened`. Errors: a `Failure`; the limit's `Cut`. */
  static async open(pool: Pool, address: string, first: Frame, budgetMs: number, limit: Limit): Promise<Link> {
    const end = now() + budgetMs;
    const socket = await pool.dial(address, budgetMs, limit);
    try {
      socket.send(first);
      const { case: kind, value } = await socket.first(Math.max(1, end - now()), limit);
      const message = kind === "observe" ? value.message : undefined;
      if (message?.case === "opened") return new Link(socket, message.value);
      if (message?.case === "refused" && message.value.error !== undefined) throw Failure.of(message.value.error);
      throw new Failure(`${address} did not open the session`, { broken: true });
    } catch (error) {
      socket.abandon();
      throw error;
    }
  }

  get address(): string {
    return this.#socket.address;
  }

  /** Works until the stream can't go on: the answer says why. Errors: the limit's `Cut`. */
  run(observer: Observer, limit: Limit): Promise<Broken> {
    return new Promise((resolve, reject) => {
      const forget = limit.onCut((cut) => {
        this.#end = undefined;
        reject(cut);
      });
      this.#end = (fault) => {
        this.#end = undefined;
        this.#suspect = fault.failure.broken;
        forget();
        resolve(fault);
      };
      this.#socket.listen(
        (message) => this.#receive(message, observer),
        (failure) => this.#end?.(faultOf(failure)),
      );
      observer.onWork = () => this.#schedule(observer);
      observer.onWork();
    });
  }

  async close(): Promise<void> {
    this.#end = undefined;
    clearTimeout(this.#sending);
    clearTimeout(this.#watching);
    if (this.#suspect) this.#socket.abandon();
    else await this.#socket.close();
  }

  #receive(message: Received, observer: Observer): void {
    if (message.case !== "observe" || this.#end === undefined) return;
    this.#heard = Math.max(this.#heard, now());
    try {
      this.#take(message.value, observer);
      this.#schedule(observer);
    } catch (fault) {
      const bug = () => new Over(new Failure(`the client failed: ${String(fault)}; report this`, { broken: true }));
      this.#end?.(fault instanceof Broken ? fault : bug());
    }
  }

  #take({ message }: ObserveResponse, observer: Observer): void {
    const { window } = observer;
    if (message.case === "opened") {
      throw new Broken(new Failure(`${this.address} opened the session twice; resuming`));
    } else if (message.case === "flow") {
      window.flow(message.value);
    } else if (message.case === "ack") {
      const events = window.ack(message.value);
      if (events.length > 0) this.#progress();
      observer.tell(events);
      // Also of rows that are acked at a lower stage than the one asked for.
      if (message.value.stage >= AckStage.COMMITTED) observer.raiseToken(Number(message.value.logIndex));
    } else if (message.case === "refused") {
      const told = window.refused(message.value);
      if (typeof told === "number") {
        observer.overloads += 1;
        this.#holdUntil = this.#heard = this.#moved = now() + told;
      } else if (told !== undefined) {
        this.#progress();
        observer.tell([told]);
      }
    }
  }

  #progress(): void {
    this.progressed = true;
    this.#moved = Math.max(this.#moved, now());
  }

  /** Looks what is due once the events that wait now had their turn: what they push shares a batch. */
  #schedule(observer: Observer): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    soon(() => {
      this.#scheduled = false;
      if (this.#end === undefined) return;
      this.#send(observer);
      if (this.#watching === undefined && observer.window.length > 0) {
        this.#heard = this.#moved = Math.max(this.#heard, now());
        this.#watch(observer);
      }
    });
  }

  /** Sends what is due, and comes back when more will be. */
  #send(observer: Observer): void {
    const { window, options } = observer;
    clearTimeout(this.#sending);
    const again = (ms: number) => {
      this.#sending = setTimeout(() => this.#schedule(observer), ms);
    };
    for (;;) {
      const time = now();
      if (time < this.#holdUntil) return again(this.#holdUntil - time);
      if (window.unsent === 0) {
        observer.hurry = false;
        this.#unsentSince = undefined;
        return;
      }
      this.#unsentSince ??= time;
      const dueAt = this.#unsentSince + options.lingerMs;
      const enough = window.unsent >= options.batchRows || window.inFlight === 0;
      if (!enough && !observer.hurry && time < dueAt) return again(dueAt - time);
      const owed = window.inFlight > 0;
      const batch = window.nextBatch();
      if (batch === undefined) return;
      // Silence while nothing was owed means nothing.
      if (!owed) this.#heard = this.#moved = Math.max(this.#heard, time);
      this.#unsentSince = undefined;
      this.#socket.send(batchFrame(batch.firstSequence, batch.rows));
    }
  }

  /** Takes a stream that owes an answer and says nothing for dead. */
  #watch(observer: Observer): void {
    this.#watching = undefined;
    const { window } = observer;
    if (this.#end === undefined || window.length === 0) return;
    const { silenceMs } = observer.pool.timing;
    let silentAt = this.#heard + PATIENCE * silenceMs;
    if (window.inFlight > 0 && !window.paused) {
      silentAt = Math.min(this.#heard + silenceMs, this.#moved + PATIENCE * silenceMs);
    }
    const waitMs = silentAt - now();
    if (waitMs <= 0) {
      const text = `${this.address}: nothing came for ${silenceMs} ms while rows wait; resuming`;
      this.#end(new Broken(new Failure(text, { broken: true })));
      return;
    }
    const ringAt = now() + Math.min(waitMs, silenceMs);
    this.#watching = setTimeout(() => {
      if (now() > ringAt + LATE_MS) this.#heard = this.#moved = now();
      this.#watch(observer);
    }, ringAt - now());
  }
}
