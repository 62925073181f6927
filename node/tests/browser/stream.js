// Memory messages over a WebSocket, as a page has them: encoded by protobufjs from the project's own .proto files.
//
// A page cannot hold a server back: what comes is kept until somebody asks for it.

const root = new protobuf.Root();
root.resolvePath = (_, target) => `/proto/${target}`;
await root.load("engram/v1/memory.proto");
const Request = root.lookupType("engram.v1.MemoryRequest");
const Response = root.lookupType("engram.v1.MemoryResponse");

/** How long an answer may take; far beyond what any takes. */
const PATIENCE_MS = 60_000;

/** The end of a stream, where something else was waited for. */
export class Closed extends Error {
  constructor({ code, reason }, detail) {
    super(`closed with ${code} ${JSON.stringify(reason)}`);
    this.code = code;
    /** The whole ErrorDetail, if the node sent one. */
    this.detail = detail;
  }
}

export class Stream {
  #socket;
  #messages = [];
  #closed = null;
  #detail = null;
  #wake = () => {};

  constructor(address, protocol = "engram.v1") {
    this.#socket = new WebSocket(`ws://${address}/v1/stream`, protocol);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onmessage = ({ data }) => {
      const message = Response.decode(new Uint8Array(data));
      if (message.ended) this.#detail = message.ended;
      // Hints on pace need no answer.
      else if (!message.observe?.flow) this.#messages.push(message);
      this.#wake();
    };
    this.#socket.onclose = (event) => {
      this.#closed = new Closed(event, this.#detail);
      this.#wake();
    };
  }

  /** Resolves once it is open. Throws `Closed`. */
  async opened() {
    const { promise, resolve } = Promise.withResolvers();
    this.#socket.onopen = resolve;
    this.#wake = () => this.#closed && resolve();
    if (this.#socket.readyState === WebSocket.CONNECTING) await promise;
    if (this.#closed) throw this.#closed;
    return this;
  }

  /** Sends a MemoryRequest, and gives its length in bytes. */
  send(request) {
    const bytes = Request.encode(Request.create(request)).finish();
    this.#socket.send(bytes);
    return bytes.length;
  }

  /** Sends what is no message. */
  sendRaw(data) {
    this.#socket.send(data);
  }

  /** The next MemoryResponse. Throws `Closed` when none comes any more. */
  async next() {
    const late = Date.now() + PATIENCE_MS;
    while (this.#messages.length === 0) {
      if (this.#closed) throw this.#closed;
      if (Date.now() >= late) throw new Error(`no answer within ${PATIENCE_MS} ms`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        this.#wake = () => (clearTimeout(timer), resolve());
      });
    }
    return this.#messages.shift();
  }

  /** Reads to the end: the `Closed` that says how it ended. */
  async end() {
    for (;;) {
      try {
        await this.next();
      } catch (closed) {
        if (closed instanceof Closed) return closed;
        throw closed;
      }
    }
  }

  /** Closes it, and waits for the node's half. */
  async close() {
    this.#socket.close(1000);
    return this.end();
  }
}
