// The platform's WebSocket: its own, or that of the package `ws` where it has none.

/** What this package uses of a WebSocket. Those of browsers, of Node.js and of `ws` have it. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  // Each platform has its own classes of events.
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
  /** `ws` alone: drops a connection whose peer may be dead. */
  terminate?(): void;
}

/** A class of WebSockets. */
export type WebSocketConstructor = new (url: string, protocol: string) => WebSocketLike;

/** The class to use where none is given. Errors: an `Error` that says what to install. */
export async function platformWebSocket(): Promise<WebSocketConstructor> {
  if (typeof globalThis.WebSocket === "function") return globalThis.WebSocket;
  try {
    return (await import("ws")).WebSocket;
  } catch (error) {
    const text = "this platform has no WebSocket; npm install ws, or give connect() the class as webSocket";
    throw new Error(text, { cause: error });
  }
}
