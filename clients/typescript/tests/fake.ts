// A node that says what a test wants it to say: refusals, credit, silence, ends.

import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { connect as connectClient, type Client, type ConnectOptions } from "../src/index.js";
import {
  AckStage,
  type CallRequest,
  type CallResponseSchema,
  FlowKind,
  MemoryRequestSchema,
  MemoryResponseSchema,
  type ObserveBatch,
  type ObserveRequest,
  type ObserveResponseSchema,
  type RecallRequest,
  type RecallResponseSchema,
} from "../src/gen/engram/v1/memory_pb.js";
import type { WatchRequest, WatchResponseSchema } from "../src/gen/engram/v1/rows_pb.js";
import { ErrorKind, type ErrorDetailSchema, WriteClass } from "../src/gen/engram/v1/types_pb.js";

export const VECTOR = [0.6, 0.8];
export type Detail = MessageInitShape<typeof ErrorDetailSchema>;
export type Answer = NonNullable<MessageInitShape<typeof ObserveResponseSchema>["message"]>;
export type CallOutcome = NonNullable<MessageInitShape<typeof CallResponseSchema>["outcome"]>;
type RecallOutcome = NonNullable<MessageInitShape<typeof RecallResponseSchema>["outcome"]>;

export function detail(
  kind: keyof typeof ErrorKind,
  of: keyof typeof WriteClass,
  message = "as asked",
  more: Partial<Omit<Detail, "$typeName" | "$unknown">> = {},
): Detail {
  return { kind: ErrorKind[kind], class: WriteClass[of], message, ...more } as Detail;
}

export function opened({
  creditRows = 4096,
  lastSequence = 0,
  session = 9n,
  dim = 2,
  leaderAddress = "",
} = {}): Answer {
  const credit = { kind: FlowKind.CREDIT, creditRows, creditBytes: 16n << 20n };
  const value = { session, incarnation: 1n, lastSequence: BigInt(lastSequence), dim, credit, leaderAddress };
  return { case: "opened", value };
}

export function ack(first: number, last: number, logIndex = 100, stage = AckStage.COMMITTED): Answer {
  const value = { firstSequence: BigInt(first), lastSequence: BigInt(last), logIndex: BigInt(logIndex), stage };
  return { case: "ack", value };
}

export function ackOf({ firstSequence, observations }: ObserveBatch): Answer {
  return ack(Number(firstSequence), Number(firstSequence) + observations.length - 1);
}

export function refused(sequence: number, error: Detail, expected = sequence): Answer {
  return { case: "refused", value: { sequence: BigInt(sequence), expected: BigInt(expected), error } };
}

/** One connection, as its scripts see it. */
export class Connection {
  readonly #socket: WebSocket;
  readonly #observes: ObserveRequest[] = [];
  #wake = () => {};
  over = false;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("close", () => {
      this.over = true;
      this.#wake();
    });
  }

  hear(request: ObserveRequest): void {
    this.#observes.push(request);
    this.#wake();
  }

  /** The next observe message; `undefined` once the client has left. */
  async next(): Promise<ObserveRequest["message"] | undefined> {
    while (this.#observes.length === 0) {
      if (this.over) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#observes.shift()?.message;
  }

  /** The next batch; `undefined` once the client has left. */
  async batch(): Promise<ObserveBatch | undefined> {
    const message = await this.next();
    return message?.case === "batch" ? message.value : undefined;
  }

  say(message: MessageInitShape<typeof MemoryResponseSchema>["message"]): void {
    if (message === undefined) return;
    this.#socket.send(toBinary(MemoryResponseSchema, create(MemoryResponseSchema, { message })));
  }

  answer(...messages: Answer[]): void {
    for (const message of messages) this.say({ case: "observe", value: { message } });
  }

  page(page: MessageInitShape<typeof WatchResponseSchema>, watchId = 1n): void {
    this.say({ case: "watch", value: { watchId, outcome: { case: "page", value: page } } });
  }

  /** Ends as a node does: with a last word and a close code. */
  end(error: Detail, code = 4014): void {
    this.say({ case: "ended", value: error });
    this.#socket.close(code, "as the last word says");
  }

  /** Ends as a proxy does, without a word. */
  close(code: number): void {
    this.#socket.close(code);
  }

  /** The connection breaks. */
  cut(): void {
    this.#socket.terminate();
  }

  raw(data: Uint8Array): void {
    this.#socket.send(data);
  }
}

type Observe = (connection: Connection) => Promise<void> | void;

/** A server without a fault. */
export async function acksAll(connection: Connection): Promise<void> {
  for (let message = await connection.next(); message !== undefined; message = await connection.next()) {
    if (message.case === "batch") connection.answer(ackOf(message.value));
    else connection.answer(opened());
  }
}

/** A node on a port of its own. */
export class Fake {
  readonly #server: WebSocketServer;
  observe: Observe;
  /** The answer; `undefined`: silence. */
  recall: (request: RecallRequest, connection: Connection) => RecallOutcome | undefined = () => noHits();
  /** The same for a call: one that makes a space makes it. */
  call: (request: CallRequest["request"], connection: Connection, callId: bigint) => CallOutcome | undefined = makes;
  watch: (request: WatchRequest, connection: Connection) => Promise<void> | void = () => {};
  connections = 0;
  recalls = 0;
  calls = 0;

  private constructor(server: WebSocketServer, observe: Observe) {
    this.#server = server;
    this.observe = observe;
    server.on("connection", (socket) => this.#serve(socket));
  }

  static async start(observe: Observe = acksAll): Promise<Fake> {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, path: "/v1/stream" });
    await new Promise((resolve) => server.once("listening", resolve));
    return new Fake(server, observe);
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: WebSocket): void {
    this.connections += 1;
    const connection = new Connection(socket);
    let observing = false;
    socket.on("message", (data: Buffer) => {
      const { message } = fromBinary(MemoryRequestSchema, data);
      if (message.case === "observe") {
        connection.hear(message.value);
        if (!observing) void this.observe(connection);
        observing = true;
      } else if (message.case === "recall") {
        this.recalls += 1;
        const outcome = this.recall(message.value, connection);
        const { requestId } = message.value;
        if (outcome !== undefined) connection.say({ case: "recall", value: { requestId, outcome } });
      } else if (message.case === "call") {
        this.calls += 1;
        const { callId, request } = message.value;
        const outcome = this.call(request, connection, callId);
        if (outcome !== undefined) connection.say({ case: "call", value: { callId, outcome } });
      } else if (message.case === "watch" && message.value.request !== undefined) {
        void this.watch(message.value.request, connection);
      }
    });
  }
}

export function makes(request: CallRequest["request"]): CallOutcome {
  if (request.case !== "createSpace") return { case: "error", value: detail("INVALID", "REJECTED", "not scripted") };
  const { config = {} } = request.value;
  return { case: "createSpace", value: { logIndex: 1n, space: { id: 1n, config } } };
}

export function noHits(appliedIndex = 1): RecallOutcome {
  const snapshot = { node: 1n, incarnation: 1n, appliedIndex: BigInt(appliedIndex) };
  return { case: "result", value: { snapshot, hits: [], last: true } };
}

/** Short waits, as nothing is far away. */
export const FAST = { deadlineMs: 20_000, backoffMinMs: 1, backoffMaxMs: 10 };

/** A fake node and a client of it, for as long as the test takes. */
export async function withFake(
  observe: Observe,
  test: (client: Client, fake: Fake) => Promise<void>,
  options: ConnectOptions = {},
): Promise<void> {
  const fake = await Fake.start(observe);
  const client = connectClient(fake.address, { timing: FAST, ...options });
  try {
    await test(client, fake);
  } finally {
    await client.close();
    await fake.stop();
  }
}

export function rows(count: number): { text: string; embedding: number[] }[] {
  return Array.from({ length: count }, (_, at) => ({ text: `row ${at}`, embedding: VECTOR }));
}

/** What the call rejects with, which must be of that class. */
export async function rejected<T extends Error>(
  of: abstract new (...fields: never[]) => T,
  call: Promise<unknown>,
): Promise<T> {
  const error = await call.then(
    (value) => new Error(`not rejected, but ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof of)) throw error;
  return error;
}
