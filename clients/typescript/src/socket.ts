// One WebSocket to one node: messages out and in, and how it ended.
//
// Invariant: one end. Whoever has it hears of each message before the end, and of the end once.

import { fromBinary } from "@bufbuild/protobuf";
import { Failure } from "./failure.js";
import { type MemoryResponse, MemoryResponseSchema } from "./gen/engram/v1/memory_pb.js";
import { type Limit, later } from "./waits.js";
import type { WebSocketConstructor, WebSocketLike } from "./websocket.js";

const PATH = "/v1/stream";
const PROTOCOL = "engram.v1";
const CLOSE_NORMAL = 1000;
/** For the other side's half of a close. */
const CLOSE_MS = 1000;

/** A message that is none of the last words. */
export type Received = Exclude<MemoryResponse["message"], { case: undefined } | { case: "ended" }>;

interface Listener {
  /** Called with each message but the last word, and the bytes that it came in. */
  readonly onMessage: (message: Received, bytes: number) => void;
  /** Called once, when nothing more comes. Not after `close` and `abandon`. */
  readonly onEnd: (failure: Failure) => void;
}

export class Socket {
  readonly address: string;
  #listener: Listener | undefined;
  /** What came while nobody listened. */
  readonly #inbox: [message: Received, bytes: number][] = [];
  readonly #socket: WebSocketLike;
  readonly #closed: Promise<void>;
  #told: Failure | undefined;
  #failure: Failure | undefined;

  private constructor(address: string, socket: WebSocketLike) {
    this.address = address;
    this.#socket = socket;
    socket.onmessage = (event: { data: unknown }) => this.#receive(event.data);
    // The end comes after it, and says as much.
    socket.onerror = () => {};
    this.#closed = new Promise((resolve) => {
      socket.onclose = (event: { code: number; reason: string }) => {
        this.#end(event.code, event.reason);
        resolve();
      };
    });
  }

  /** Connects within a time. Errors: a `Failure` after which surely nothing was sent; the limit's `Cut`. */
  static open(of: WebSocketConstructor, address: string, withinMs: number, limit: Limit): Promise<Socket> {
    limit.check();
    const socket = new of(urlOf(address), PROTOCOL);
    socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      const leave = () => (clearTimeout(timer), forget());
      const fail = (error: Error) => {
        leave();
        for (const on of ["onopen", "onclose", "onmessage"] as const) socket[on] = null;
        drop(socket);
        reject(error);
      };
      const none = (why: string) => fail(new Failure(`${address}: ${why}`, { undialled: true, broken: true }));
      const timer = later(withinMs, () => none(`no connection within ${Math.round(withinMs)} ms`));
      const forget = limit.onCut(fail);
      socket.onopen = () => (leave(), resolve(new Socket(address, socket)));
      socket.onclose = () => none("cannot be connected to");
      socket.onerror = () => {};
    });
  }

  /** Why it has ended, if it has. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** Sends, or does nothing once it has ended: the end is told. */
  send(message: Uint8Array<ArrayBuffer>): void {
    if (this.#failure === undefined) this.#socket.send(message);
  }

  /** Hears from now on what comes, what came while nobody listened first. */
  listen(onMessage: Listener["onMessage"], onEnd: Listener["onEnd"]): void {
    const listener = { onMessage, onEnd };
    this.#listener = listener;
    while (this.#listener === listener) {
      const waiting = this.#inbox.shift();
      if (waiting === undefined) break;
      onMessage(...waiting);
    }
    if (this.#listener === listener && this.#failure !== undefined) onEnd(this.#failure);
  }

  /** The first message that comes; nobody listens after it. Errors: the `Failure` that it ended with, or silence; the
   * limit's `Cut`. */
  first(withinMs: number, limit: Limit): Promise<Received> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        forget();
        this.#listener = undefined;
      };
      const fail = (error: Error) => (leave(), reject(error));
      const timer = later(withinMs, () => fail(silent(this.address, withinMs)));
      const forget = limit.onCut(fail);
      this.listen((message) => (leave(), resolve(message)), fail);
    });
  }

  /** Closes it as both sides should, and does not wait long for the other one. */
  async close(): Promise<void> {
    this.#leave();
    this.#socket.close(CLOSE_NORMAL);
    const timer = setTimeout(() => drop(this.#socket), CLOSE_MS);
    await this.#closed;
    clearTimeout(timer);
  }

  /** The peer may be dead: waits for nothing. */
  abandon(): void {
    this.#leave();
    drop(this.#socket);
  }

  #leave(): void {
    this.#listener = undefined;
    this.#failure ??= new Failure(`${this.address}: the connection was closed`, { broken: true });
  }

  #receive(data: unknown): void {
    if (this.#failure !== undefined) return;
    const bytes = new Uint8Array(data as ArrayBuffer);
    let message: MemoryResponse["message"];
    try {
      message = fromBinary(MemoryResponseSchema, bytes).message;
    } catch (error) {
      this.#fail(new Failure(`${this.address} sent what is no message: ${String(error)}`, { broken: true }));
      drop(this.#socket);
      return;
    }
    if (message.case === "ended") this.#told = Failure.of(message.value);
    // What a newer server says, and this version does not know, is skipped.
    else if (message.case !== undefined) this.#deliver(message, bytes.length);
  }

  /** An end that no server explains was made by something in between: its outcome is unknown. */
  #end(code: number, reason: string): void {
    if (this.#failure !== undefined) return;
    const text = `${this.address}: the connection ended with code ${code}${reason === "" ? "" : `: ${reason}`}`;
    this.#fail(this.#told ?? new Failure(text, { broken: true }));
  }

  #deliver(message: Received, bytes: number): void {
    if (this.#listener === undefined) this.#inbox.push([message, bytes]);
    else this.#listener.onMessage(message, bytes);
  }

  #fail(failure: Failure): void {
    this.#failure = failure;
    this.#listener?.onEnd(failure);
  }
}

/** Nothing came in time. */
export function silent(address: string, afterMs: number): Failure {
  return new Failure(`${address} did not answer within ${Math.round(afterMs)} ms`, { broken: true });
}

function drop(socket: WebSocketLike): void {
  if (socket.terminate !== undefined) socket.terminate();
  else socket.close();
}

function urlOf(address: string): string {
  return `${address.includes("://") ? address.replace(/\/$/, "") : `ws://${address}`}${PATH}`;
}
