// The connections to one address that recalls and calls share.
//
// A node answers the recalls of a stream one after the other, and one that waits for its snapshot holds back those
// behind it. So there are several streams, and each read takes the one with the least to do. Writes have one of their
// own: a read that takes its connection for dead must not leave them in doubt.

import type { WireLevel } from "./consistency.js";
import { Failure } from "./failure.js";
import { callFrame, type CallInit, type Frame, recallFrame } from "./frames.js";
import type { CallRequest, CallResponse } from "./gen/engram/v1/memory_pb.js";
import type { Filter } from "./gen/engram/v1/types_pb.js";
import type { Pool } from "./pool.js";
import { Answer, type Hit, hitFromWire, snapshotFromWire } from "./results.js";
import { silent, type Received, type Socket } from "./socket.js";
import { Limit, later, now } from "./waits.js";

const READ_STREAMS_MAX = 4;

/** All of a recall's request but its number and its wait. */
export interface Question {
  space: string;
  cue: Uint8Array;
  k: number;
  ef?: number;
  withEmbedding?: boolean;
  filter?: Filter;
  scoreMin?: number;
  consistency?: WireLevel;
  atIndex?: bigint;
  /** Empty: of none. */
  traceparent: string;
}

/** Something that a stream is asked under an id. */
export interface Ask<T> {
  /** Whether it may have an effect. */
  readonly writes: boolean;
  /** The request, of which the node may take most of `leftMs`. */
  frame(id: bigint, leftMs: number): Frame;
  /** Takes a message that came under its id: the whole answer once that is there, or what went wrong. */
  take(message: Received): T | Failure | undefined;
}

/** A recall; its pages are put together. For one attempt. */
export function recallOf(question: Question): Ask<Answer> {
  const hits: Hit[] = [];
  const take = (message: Received) => {
    if (message.case !== "recall") return strange();
    const { outcome } = message.value;
    if (outcome.case === "error") return Failure.of(outcome.value);
    if (outcome.case === undefined) return strange();
    hits.push(...outcome.value.hits.map(hitFromWire));
    if (hits.length > question.k) return new Failure("the node sent more hits than were asked for", { broken: true });
    if (!outcome.value.last) return undefined;
    if (outcome.value.snapshot === undefined) return new Failure("the answer has no snapshot", { broken: true });
    return new Answer(hits, snapshotFromWire(outcome.value.snapshot));
  };
  return { writes: false, frame: (id, leftMs) => recallFrame(question, id, leftMs), take };
}

/** The kinds of calls. */
export type CallCase = Exclude<CallRequest["request"]["case"], undefined>;
/** What a call of a kind is answered with. */
export type CallAnswer<C extends CallCase> = Extract<CallResponse["outcome"], { case: C }>["value"];
/** What is asked of it. */
export type CallValue<C extends CallCase> = Extract<CallInit, { case: C }>["value"];

const WRITES: ReadonlySet<CallCase> = new Set<CallCase>(["forget", "createSpace", "dropSpace"]);

/** A call with one answer. */
export function callOf<C extends CallCase>(kind: C, value: CallValue<C>): Ask<CallAnswer<C>> {
  const request = { case: kind, value } as CallInit;
  const take = (message: Received) => {
    if (message.case !== "call") return strange();
    const { outcome } = message.value;
    if (outcome.case === "error") return Failure.of(outcome.value);
    return outcome.case === kind ? (outcome.value as CallAnswer<C>) : strange();
  };
  return { writes: WRITES.has(kind), frame: (id) => callFrame(request, id), take };
}

function strange(): Failure {
  return new Failure("the node's answer is of a kind not known here", { broken: true });
}

interface Pending {
  readonly writes: boolean;
  readonly take: (message: Received) => unknown;
  readonly resolve: (answer: never) => void;
  readonly reject: (failure: Error) => void;
}

/** One stream. */
class Asker {
  /** What was asked and is not answered, what nobody waits for any more included. */
  readonly #pending = new Map<bigint, Pending>();
  /** Asks that wait for the connection. */
  #waiting = 0;
  #asked = 0n;
  /** Since when an answer is owed and nothing was heard. */
  #silentSince = 0;
  readonly #silenceMs: number;
  readonly #socket: Promise<Socket>;
  readonly #ended: () => void;

  /** `ended` is called at the end, and perhaps more than once. */
  constructor(socket: Promise<Socket>, silenceMs: number, ended: () => void) {
    this.#silenceMs = silenceMs;
    this.#ended = ended;
    this.#socket = socket.then((opened) => {
      opened.listen(
        (message) => this.#receive(message),
        (failure) => this.#fail(failure),
      );
      return opened;
    });
    this.#socket.catch(ended);
  }

  get load(): number {
    return this.#pending.size + this.#waiting;
  }

  async ask<T>(ask: Ask<T>, budgetMs: number, limit: Limit, sent: () => void): Promise<T> {
    const end = now() + budgetMs;
    this.#waiting += 1;
    const socket = await limit.race(this.#socket).finally(() => (this.#waiting -= 1));
    if (socket.failure !== undefined) throw socket.failure;
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      const leftMs = Math.max(1, end - now());
      const leave = () => (clearTimeout(timer), forget());
      const timer = later(leftMs, () => this.#giveUp(id, socket, ask.writes, silent(socket.address, budgetMs)));
      const forget = limit.onCut((cut) => (leave(), reject(cut)));
      if (this.#pending.size === 0) this.#silentSince = now();
      this.#pending.set(id, {
        writes: ask.writes,
        take: ask.take,
        resolve: (answer) => (leave(), resolve(answer)),
        reject: (failure) => (leave(), reject(failure)),
      });
      sent();
      socket.send(ask.frame(id, leftMs));
    });
  }

  async close(): Promise<void> {
    const socket = await this.#socket.catch(() => undefined);
    this.#fail(new Failure("the connection was closed before the answer", { broken: true }));
    await socket?.close();
  }

  /** A node that is silent is as good as gone: those behind a read ask elsewhere too. A write may take longer than its
   * caller waits, and leaves the connection to the others unless nothing has come for long. */
  #giveUp(id: bigint, socket: Socket, write: boolean, failure: Failure): void {
    if (write && now() - this.#silentSince < this.#silenceMs) {
      this.#pending.get(id)?.reject(failure);
      return;
    }
    socket.abandon();
    this.#fail(failure);
  }

  #receive(message: Received): void {
    this.#silentSince = now();
    const id = idOf(message);
    const pending = id === undefined ? undefined : this.#pending.get(id);
    if (id === undefined || pending === undefined) return;
    const outcome = pending.take(message);
    if (outcome === undefined) return;
    this.#pending.delete(id);
    if (outcome instanceof Failure) pending.reject(outcome);
    else pending.resolve(outcome as never);
  }

  #fail(failure: Failure): void {
    this.#ended();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { writes, reject } of pending) reject(writes ? inDoubt(failure) : failure);
  }
}

/** What ends a stream says nothing of the calls under way, but that the server knows none. */
function inDoubt(failure: Failure): Failure {
  if (!failure.rejected || failure.kind === "UNSUPPORTED") return failure;
  return new Failure(failure.message, { kind: failure.kind });
}

function idOf(message: Received): bigint | undefined {
  if (message.case === "recall") return message.value.requestId;
  return message.case === "call" ? message.value.callId : undefined;
}

/** See the module. */
export class Lane {
  readonly #pool: Pool;
  readonly #address: string;
  readonly #readers = new Set<Asker>();
  readonly #writers = new Set<Asker>();

  constructor(pool: Pool, address: string) {
    this.#pool = pool;
    this.#address = address;
  }

  /** One answer, whole; `sent` is called when the request is on its way. Errors: a `Failure`; the limit's `Cut`, and
   * then nobody waits for the answer any more. */
  ask<T>(ask: Ask<T>, budgetMs: number, limit: Limit, sent: () => void = () => {}): Promise<T> {
    const asker = ask.writes ? this.#take(this.#writers, 1) : this.#take(this.#readers, READ_STREAMS_MAX);
    return asker.ask(ask, budgetMs, limit, sent);
  }

  #take(askers: Set<Asker>, most: number): Asker {
    const [idlest] = [...askers].sort((one, other) => one.load - other.load);
    if (idlest !== undefined && (idlest.load === 0 || askers.size >= most)) return idlest;
    // Not by the limit of one caller: others may wait for it too.
    const dialled = this.#pool.dial(this.#address, Infinity, new Limit(undefined, undefined));
    const asker = new Asker(dialled, this.#pool.timing.silenceMs, () => askers.delete(asker));
    askers.add(asker);
    return asker;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#readers, ...this.#writers].map((asker) => asker.close()));
  }
}
