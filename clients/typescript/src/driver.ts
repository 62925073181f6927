// Keeps a session connected. A break leads to a resume, on the hinted leader or on the endpoints in turn. Only the
// session's end, a rival or too long a standstill end the stream.

import { readCall } from "./call.js";
import { Broken, Failure, faultOf, Over, Superseded } from "./failure.js";
import { openFrame, resumeFrame } from "./frames.js";
import { Link } from "./link.js";
import { Observer } from "./observer.js";
import type { ObserveOptions } from "./options.js";
import type { Pool } from "./pool.js";
import { Route } from "./route.js";
import { Cut, Limit, now } from "./waits.js";

/** For so long a resume without an answer may still be carried out, and supersede its own successor. */
const LATE_RESUME_MS = 60_000;

/** Opens a session in a space of so many dimensions. An attempt without an answer is followed by another: a session
 * that was opened and not used expires. Errors: `Failure`, and then nothing was observed, so nothing is in doubt; the
 * signal's reason. */
export async function openObserver(
  pool: Pool,
  pin: string | undefined,
  space: { name: string; dim: number },
  options: ObserveOptions,
  traceparent: string,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<Observer> {
  const first = openFrame(space.name, options, traceparent);
  const open = (address: string, budgetMs: number, limit: Limit) => Link.open(pool, address, first, budgetMs, limit);
  const link = await readCall(pool, pin, deadlineMs, signal, open, true);
  const { dim, leaderAddress } = link.opened;
  try {
    if (dim !== space.dim) {
      const text = `space "${space.name}" has ${dim} dimensions, not ${space.dim}; correct the dim`;
      throw new Failure(text, { kind: "EXISTS", rejected: true });
    }
    const observer = new Observer(pool, options, traceparent, link.opened);
    const route = new Route(pool, pin, true);
    route.last = link.address;
    route.prefer(leaderAddress);
    new Driver(observer, route).begin(link);
    return observer;
  } catch (fault) {
    await link.close();
    throw fault instanceof Over ? fault.failure : fault;
  }
}

/** See the module. */
class Driver {
  readonly #observer: Observer;
  readonly #route: Route;
  readonly #closing = new AbortController();
  readonly #limit = new Limit(undefined, this.#closing.signal);
  /** Resumes without an answer, and when the last one was sent. */
  #doubtful = 0;
  #doubtfulAt = 0;
  /** Since when nothing was acked or refused while rows wait, over several links. */
  #stalledSince: number | undefined;

  constructor(observer: Observer, route: Route) {
    this.#observer = observer;
    this.#route = route;
  }

  begin(link: Link): void {
    const ended = this.#run(link);
    this.#observer.endDriver = () => {
      this.#closing.abort();
      return ended;
    };
  }

  /** Works until the stream has ended, or is closed. */
  async #run(first: Link): Promise<void> {
    try {
      let link: Link | undefined = first;
      while (link !== undefined) link = await this.#live(link);
    } catch (bug) {
      // Nobody shall wait in vain for what is no more.
      if (!(bug instanceof Cut)) this.#observer.stop(new Failure(`the client failed: ${String(bug)}; report this`));
    } finally {
      this.#limit.done();
    }
  }

  /** One link's life, and the next link; `undefined` when the stream has ended. */
  async #live(link: Link): Promise<Link | undefined> {
    let fault: Broken;
    try {
      fault = await link.run(this.#observer, this.#limit);
    } finally {
      // The old stream ends before the next begins.
      await link.close();
    }
    if (link.progressed) {
      this.#stalledSince = undefined;
      this.#route.progressed();
    }
    const failure = this.#judge(fault);
    return failure === undefined ? undefined : this.#resume(failure);
  }

  async #resume(interrupted: Failure): Promise<Link | undefined> {
    const { pool, session, window } = this.#observer;
    let failure: Failure | undefined = interrupted;
    while (failure !== undefined) {
      pool.log(`session ${session} is interrupted: ${failure.message}`);
      this.#stalledSince ??= now();
      if (now() - this.#stalledSince >= pool.timing.giveUpMs && window.length > 0) {
        this.#observer.stop(failure);
        return undefined;
      }
      await this.#limit.sleep(this.#route.failed(failure));
      let link: Link | undefined;
      try {
        link = await this.#handshake();
        this.#adopt(link);
        return link;
      } catch (error) {
        await link?.close();
        failure = this.#judge(this.#faultOf(error));
      }
    }
    return undefined;
  }

  #faultOf(error: unknown): Broken {
    if (error instanceof Broken) return error;
    if (!(error instanceof Failure)) throw error;
    if (!error.undialled && !error.rejected) {
      this.#doubtful += 1;
      this.#doubtfulAt = now();
    }
    return faultOf(error);
  }

  #handshake(): Promise<Link> {
    const { pool, session, incarnation, options, traceparent } = this.#observer;
    const resume = resumeFrame(session, incarnation, options, traceparent);
    return Link.open(pool, this.#route.next(), resume, pool.timing.silenceMs, this.#limit);
  }

  /** The session goes on there: what it has is acked, the rest goes again. Errors: `Broken`, `Over`. */
  #adopt({ opened, address }: Link): void {
    const { session, incarnation, window, pool } = this.#observer;
    if (opened.session !== session || opened.incarnation !== incarnation) {
      throw new Broken(new Failure(`${address} answered for another session; resuming elsewhere`));
    }
    const events = window.opened(opened);
    if (events.length > 0 || window.length === 0) {
      this.#stalledSince = undefined;
      this.#route.progressed();
    }
    this.#route.prefer(opened.leaderAddress);
    pool.log(`session ${session} goes on at ${address} after ${opened.lastSequence}`);
    this.#observer.tell([...events, { type: "resumed", address, lastSequence: Number(opened.lastSequence) }]);
  }

  /** What to go on with; `undefined` when the stream has ended. */
  #judge(fault: Broken): Failure | undefined {
    const { failure } = fault;
    if (fault instanceof Superseded ? this.#byOurselves() : !(fault instanceof Over)) return failure;
    if (failure.kind === "SESSION_LOST") this.#observer.tell(this.#observer.window.lost(failure.lastSequence));
    this.#observer.stop(failure);
    return undefined;
  }

  /** A resume of ours that had no answer may have been carried out late. Each can have done so once. */
  #byOurselves(): boolean {
    if (this.#doubtful === 0 || now() - this.#doubtfulAt > LATE_RESUME_MS) {
      this.#doubtful = 0;
      return false;
    }
    this.#doubtful -= 1;
    return true;
  }
}
