// The recalls' connections to one address, shared by all of a client's recalls.
//
// A node answers the recalls of a stream one after the other, and one that waits for its snapshot holds back those
// behind it. So there are several streams, and each recall takes the one with the least to do.

import type { WireLevel } from "./consistency.js";
import { Failure } from "./failure.js";
import { recallFrame } from "./frames.js";
import type { RecallResponse } from "./gen/engram/v1/memory_pb.js";
import type { Filter } from "./gen/engram/v1/types_pb.js";
import type { Pool } from "./pool.js";
import { Answer, type Hit, hitFromWire, snapshotFromWire } from "./results.js";
import { silent, type Received, type Socket } from "./socket.js";
import { Limit, later, now } from "./waits.js";

const STREAMS_MAX = 4;

/** All of a request but its number and its wait. */
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
}

interface Pending {
  readonly k: number;
  readonly hits: Hit[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (failure: Error) => void;
}

/** One stream of recalls. */
class Asker {
  /** Recalls that were asked and are not answered, those that nobody waits for any more included. */
  readonly #pending = new Map<bigint, Pending>();
  /** Recalls that wait for the connection. */
  #waiting = 0;
  #asked = 0n;
  readonly #socket: Promise<Socket>;
  readonly #ended: () => void;

  /** `ended` is called at the end, and perhaps more than once. */
  constructor(socket: Promise<Socket>, ended: () => void) {
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

  async ask(question: Question, budgetMs: number, limit: Limit): Promise<Answer> {
    const end = now() + budgetMs;
    this.#waiting += 1;
    const socket = await limit.race(this.#socket).finally(() => (this.#waiting -= 1));
    if (socket.failure !== undefined) throw socket.failure;
    const requestId = ++this.#asked;
    return new Promise((resolve, reject) => {
      const leftMs = Math.max(1, end - now());
      const leave = () => (clearTimeout(timer), forget());
      const timer = later(leftMs, () => this.#giveUp(socket, silent(socket.address, budgetMs)));
      const forget = limit.onCut((cut) => (leave(), reject(cut)));
      this.#pending.set(requestId, {
        k: question.k,
        hits: [],
        resolve: (answer) => (leave(), resolve(answer)),
        reject: (failure) => (leave(), reject(failure)),
      });
      socket.send(recallFrame(question, requestId, leftMs));
    });
  }

  async close(): Promise<void> {
    const socket = await this.#socket.catch(() => undefined);
    this.#fail(new Failure("the connection was closed before the answer"));
    await socket?.close();
  }

  /** A node that is silent is as good as gone: those behind the recall ask elsewhere too. */
  #giveUp(socket: Socket, failure: Failure): void {
    socket.abandon();
    this.#fail(failure);
  }

  #receive(message: Received): void {
    if (message.case !== "recall") return;
    const pending = this.#pending.get(message.value.requestId);
    if (pending === undefined) return;
    const outcome = take(pending, message.value);
    if (outcome === undefined) return;
    this.#pending.delete(message.value.requestId);
    if (outcome instanceof Answer) pending.resolve(outcome);
    else pending.reject(outcome);
  }

  #fail(failure: Failure): void {
    this.#ended();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(failure);
  }
}

/** The whole answer, once all its pages have come. */
function take({ hits, k }: Pending, { outcome }: RecallResponse): Answer | Failure | undefined {
  if (outcome.case === "error") return Failure.of(outcome.value);
  if (outcome.case === undefined) return new Failure("the node's answer is of a kind not known here", { broken: true });
  hits.push(...outcome.value.hits.map(hitFromWire));
  if (hits.length > k) return new Failure("the node sent more hits than were asked for", { broken: true });
  if (!outcome.value.last) return undefined;
  if (outcome.value.snapshot === undefined) return new Failure("the answer has no snapshot", { broken: true });
  return new Answer(hits, snapshotFromWire(outcome.value.snapshot));
}

/** See the module. */
export class Lane {
  readonly #pool: Pool;
  readonly #address: string;
  readonly #askers = new Set<Asker>();

  constructor(pool: Pool, address: string) {
    this.#pool = pool;
    this.#address = address;
  }

  /** One recall, whole. Errors: a `Failure`; the limit's `Cut`, and then nobody waits for the answer any more. */
  ask(question: Question, budgetMs: number, limit: Limit): Promise<Answer> {
    return this.#take().ask(question, budgetMs, limit);
  }

  #take(): Asker {
    const [idlest] = [...this.#askers].sort((one, other) => one.load - other.load);
    if (idlest !== undefined && (idlest.load === 0 || this.#askers.size >= STREAMS_MAX)) return idlest;
    // Not by the limit of one caller: others may wait for it too.
    const dialled = this.#pool.dial(this.#address, Infinity, new Limit(undefined, undefined));
    const asker = new Asker(dialled, () => this.#askers.delete(asker));
    this.#askers.add(asker);
    return asker;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#askers].map((asker) => asker.close()));
  }
}
