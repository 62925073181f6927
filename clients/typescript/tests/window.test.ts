// The window against a model server: whatever is lost, repeated, refused or resumed, every good row is in the log
// exactly once and in order, and its owner hears of it once. Steps are drawn from seeds; a failing seed fails again.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event } from "../src/events.js";
import { Broken, Over, Superseded } from "../src/failure.js";
import { AckStage, FlowControlSchema, FlowKind, ObserveResponseSchema } from "../src/gen/engram/v1/memory_pb.js";
import type { AckStage as Stage } from "../src/options.js";
import { completeObserve } from "../src/options.js";
import { random } from "../src/random.js";
import { type Batch, Window } from "../src/window.js";
import { ack, type Answer, detail, opened, refused } from "./fake.js";

const OPTIONS = completeObserve({ windowRows: 8, windowBytes: 400, batchRows: 3, batchBytes: 200 });
const STEPS = {
  push: 6,
  pushBad: 2,
  send: 5,
  serve: 5,
  hear: 5,
  break: 1,
  overload: 1,
  credit: 1,
  pause: 1,
};
type Step = keyof typeof STEPS;
const SEEDS = 60;
const STEPS_OF_A_SEED = 400;

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (row: Uint8Array) => new TextDecoder().decode(row);
const invalid = (message = "bad") => detail("INVALID", "REJECTED", message);

/** What a window hears: one answer, as it comes off the wire. */
function hear(window: Window, answer: Answer): Event[] {
  const { message } = create(ObserveResponseSchema, { message: answer });
  if (message.case === "opened") return window.opened(message.value);
  if (message.case === "ack") return window.ack(message.value);
  if (message.case !== "refused") throw new Error(`not for a window: ${message.case}`);
  const told = window.refused(message.value);
  return typeof told === "object" ? [told] : [];
}

const flow = (fields: MessageInitShape<typeof FlowControlSchema>) => create(FlowControlSchema, fields);

/** One session as the protocol describes it. */
class Server {
  readonly log: string[] = [];
  overload = 0;
  constructor(readonly tellsGaps: boolean) {}

  serve({ firstSequence, rows }: Batch): Answer[] {
    return rows.flatMap((row, at) => this.#take(firstSequence + at, text(row)));
  }

  #take(sequence: number, row: string): Answer[] {
    const expected = this.log.length + 1;
    if (sequence < expected) {
      assert.equal(this.log[sequence - 1], row, `${sequence} came with another payload`);
      return [ack(sequence, sequence)];
    }
    if (sequence > expected) return this.tellsGaps ? [refused(sequence, invalid("a gap"), expected)] : [];
    if (this.overload > 0) {
      this.overload -= 1;
      return [refused(sequence, detail("OVERLOADED", "REJECTED", "full", { retryAfterMs: 10 }))];
    }
    if (row.startsWith("bad")) return [refused(sequence, invalid())];
    this.log.push(row);
    return [ack(sequence, sequence)];
  }
}

/** A client's window, a server, and what is on its way between them. */
class World {
  readonly window = new Window(OPTIONS);
  readonly server: Server;
  readonly pushed: string[] = [];
  readonly heard = new Map<number, string>();
  #up: Batch[] = [];
  #down: Answer[] = [];
  readonly #draw: () => number;

  constructor(tellsGaps: boolean, draw: () => number) {
    this.server = new Server(tellsGaps);
    this.#draw = draw;
  }

  below(limit: number): number {
    return Math.floor(this.#draw() * limit);
  }

  step(step: Step): void {
    const { window, server } = this;
    if (step === "push" || step === "pushBad") this.#push(step === "pushBad" ? "bad" : "good");
    else if (step === "send") this.#send();
    else if (step === "serve") this.#down.push(...this.#up.splice(0, 1).flatMap((batch) => server.serve(batch)));
    else if (step === "hear") for (const answer of this.#down.splice(0, 1)) this.#tell(hear(window, answer));
    else if (step === "break") this.#reconnect(this.below(4));
    else if (step === "overload") server.overload = 1 + this.below(2);
    else if (step === "credit")
      window.flow(flow({ kind: FlowKind.CREDIT, creditRows: this.below(6), creditBytes: 1n << 20n }));
    else window.flow(flow({ kind: this.below(2) === 0 ? FlowKind.PAUSE : FlowKind.RESUME }));
  }

  /** Without faults everything comes to its end. */
  settle(): void {
    this.server.overload = 0;
    this.#reconnect(0);
    for (let turn = 0; turn < 200; turn += 1) for (const step of ["send", "serve", "hear"] as const) this.step(step);
    assert.equal(this.window.length, 0);
  }

  #push(kind: string): void {
    if (!this.window.hasRoom) return;
    const row = `${kind} ${this.pushed.length}`;
    assert.equal(this.window.push(bytes(row)), this.pushed.push(row));
  }

  #send(): void {
    const batch = this.window.nextBatch();
    if (batch === undefined) return;
    assert.ok(batch.rows.length <= OPTIONS.batchRows && this.window.inFlight <= OPTIONS.windowRows);
    this.#up.push(batch);
  }

  /** The connection breaks after the server got so many more batches, whose answers are lost. */
  #reconnect(served: number): void {
    for (const batch of this.#up.slice(0, served)) this.server.serve(batch);
    this.#up = [];
    this.#down = [];
    this.#tell(hear(this.window, opened({ lastSequence: this.server.log.length })));
  }

  #tell(events: Event[]): void {
    for (const event of events) {
      if (event.type === "refused") this.#note(event.ticket, "refused");
      if (event.type !== "acked") continue;
      for (let ticket = event.firstTicket; ticket <= event.lastTicket; ticket += 1) {
        const sequence: number = event.firstSequence + ticket - event.firstTicket;
        assert.equal(this.server.log[sequence - 1], this.pushed[ticket - 1]);
        this.#note(ticket, "acked");
      }
    }
  }

  #note(ticket: number, what: string): void {
    assert.ok(!this.heard.has(ticket), `${ticket} is ${this.heard.get(ticket)} and ${what}`);
    this.heard.set(ticket, what);
  }
}

test("every good row is in the log once, whatever happens on the way", () => {
  const steps = Object.entries(STEPS).flatMap(([step, weight]) => Array<Step>(weight).fill(step as Step));
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const world = new World(seed % 2 === 0, random(seed));
    for (let at = 0; at < STEPS_OF_A_SEED; at += 1) world.step(steps[world.below(steps.length)] ?? "push");
    world.settle();
    const { pushed, server, heard } = world;
    assert.deepEqual(
      server.log,
      pushed.filter((row) => row.startsWith("good")),
      `seed ${seed}`,
    );
    const outcomes = pushed.map((row) => (row.startsWith("good") ? "acked" : "refused"));
    assert.deepEqual(
      pushed.map((_, at) => heard.get(at + 1)),
      outcomes,
      `seed ${seed}`,
    );
  }
});

function sent(count: number, stage: Stage = "committed"): Window {
  const window = new Window(completeObserve({ stage }));
  for (let at = 0; at < count; at += 1) window.push(bytes(`row ${at}`));
  window.nextBatch();
  return window;
}

test("what a server must not say breaks or ends the stream", () => {
  for (const bad of [ack(1, 4), ack(3, 2), ack(2, 2)]) assert.throws(() => hear(sent(3), bad), Broken);
  assert.throws(() => hear(sent(3), refused(9, invalid())), /not in flight/);
  assert.throws(
    () => hear(sent(3), opened({ lastSequence: 4 })),
    (error) => error instanceof Over && /never sent/.test(error.message),
  );
  const window = sent(3);
  hear(window, ack(1, 2));
  assert.throws(() => hear(window, opened({ lastSequence: 0 })), /rows 1 to 2 were acked as committed and are gone/);
  assert.throws(() => hear(sent(3), refused(1, invalid(), 2)), /another payload/);
  assert.throws(() => hear(sent(3), refused(1, detail("SUPERSEDED", "UNKNOWN"))), Superseded);
  assert.throws(() => hear(sent(3), refused(1, detail("INVALID", "UNKNOWN"))), Broken);
});

test("an ack of a lower stage settles nothing", () => {
  const window = sent(3, "searchable");
  const [event] = hear(window, ack(1, 3));
  assert.ok(event?.type === "acked" && !event.settled);
  assert.deepEqual([window.settledThrough, window.length], [0, 3]);
});

test("rows that were acked as received and are lost go again under their numbers", () => {
  const window = sent(3, "received");
  hear(window, ack(1, 3, 0, AckStage.RECEIVED));
  assert.deepEqual(hear(window, opened({ lastSequence: 1 })), [{ type: "lost", rows: 2 }]);
  window.push(bytes("next"));
  assert.equal(window.nextBatch()?.firstSequence, 2);
});

test("a server that asks for less gets less, and more again as acks come", () => {
  const window = new Window(completeObserve({ windowRows: 100, batchRows: 100 }));
  for (let at = 0; at < 64; at += 1) window.push(bytes("row"));
  assert.equal(window.nextBatch()?.rows.length, 64);
  window.flow(flow({ kind: FlowKind.SLOWER }));
  hear(window, ack(1, 32));
  for (let at = 0; at < 64; at += 1) window.push(bytes("row"));
  // Half of 64, and 32 more for as many acks: 64 in flight, of which 32 are.
  assert.equal(window.nextBatch()?.rows.length, 32);
  window.flow(flow({ kind: FlowKind.FASTER }));
  assert.equal(window.nextBatch()?.rows.length, 32);
});

test("a row over every byte limit goes alone, and credit of no row stops all", () => {
  const window = new Window(completeObserve({ windowBytes: 10, batchBytes: 10 }));
  window.push(new Uint8Array(100));
  assert.ok(!window.hasRoom);
  window.flow(flow({ kind: FlowKind.CREDIT, creditRows: 0, creditBytes: 0n }));
  assert.equal(window.nextBatch(), undefined);
  window.flow(flow({ kind: FlowKind.CREDIT, creditRows: 1, creditBytes: 1n }));
  assert.equal(window.nextBatch()?.rows.length, 1);
});
