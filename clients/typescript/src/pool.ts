// What all parts of a client share: its endpoints, the leader it last heard of, its read token, its connections.

import { type ReadToken, raised } from "./consistency.js";
import { InvalidArgument } from "./errors.js";
import { Lane } from "./lane.js";
import { completeTiming, type ConnectOptions, type Timing } from "./options.js";
import { random } from "./random.js";
import { Socket } from "./socket.js";
import type { Limit } from "./waits.js";
import { platformWebSocket, type WebSocketConstructor } from "./websocket.js";

/** Addresses of which connections are kept, hinted ones included; over it the hinted ones are forgotten. */
const LANES_MAX = 64;
const ADDRESS_CHARACTERS_MAX = 261;

export class Pool {
  readonly endpoints: readonly string[];
  readonly timing: Timing;
  readonly random: () => number;
  readonly log: (line: string) => void;
  leader: string | undefined;
  token: ReadToken = { logIndex: 0, incarnation: 0n };
  closed = false;
  readonly #follows: boolean;
  readonly #webSocket: WebSocketConstructor | undefined;
  readonly #lanes = new Map<string, Lane>();
  #operations = 0;

  /** Errors: `InvalidArgument`. */
  constructor(endpoints: string | readonly string[], options: ConnectOptions) {
    this.endpoints = typeof endpoints === "string" ? [endpoints] : [...endpoints];
    if (this.endpoints.length === 0) throw new InvalidArgument("no endpoints; name at least one as host:port");
    for (const endpoint of this.endpoints) checkEndpoint(endpoint);
    this.timing = completeTiming(options.timing);
    this.random = random(options.seed);
    this.log = (line) => {
      try {
        options.log?.(line);
      } catch {
        // A stream does not end because a line could not be written.
      }
    };
    this.#webSocket = options.webSocket;
    // Nodes name each other as host:port; who reaches them by URLs, through something in front, does not reach that.
    this.#follows = this.endpoints.every((endpoint) => faultOfAddress(endpoint) === undefined);
  }

  /** A number for one operation: reads start at an endpoint each in turn. */
  operation(): number {
    return ++this.#operations;
  }

  /** A connection of its own. Errors: a `Failure` after which surely nothing was sent; the limit's `Cut`. */
  async dial(address: string, withinMs: number, limit: Limit): Promise<Socket> {
    const of = this.#webSocket ?? (await platformWebSocket());
    this.check();
    return Socket.open(of, address, Math.min(withinMs, this.timing.connectMs), limit);
  }

  /** The shared connections to an address. */
  lane(address: string): Lane {
    if (this.#lanes.size >= LANES_MAX && !this.#lanes.has(address)) {
      for (const [known, hinted] of this.#lanes) {
        if (this.endpoints.includes(known)) continue;
        this.#lanes.delete(known);
        void hinted.close();
      }
    }
    const lane = this.#lanes.get(address) ?? new Lane(this, address);
    this.#lanes.set(address, lane);
    return lane;
  }

  /** Remembers where the leader is said to be; what is no address is dropped. */
  hint(address: string): string | undefined {
    if (address === "" || !this.#follows || faultOfAddress(address) !== undefined) return undefined;
    this.leader = address;
    return address;
  }

  /** Forgets a leader that did not behave like one. */
  forget(address: string): void {
    if (this.leader === address) this.leader = undefined;
  }

  raiseToken(token: ReadToken): void {
    this.token = raised(this.token, token);
  }

  /** Errors: `InvalidArgument`. */
  check(): void {
    if (this.closed) throw new InvalidArgument("the client is closed; connect again");
  }

  async close(): Promise<void> {
    this.closed = true;
    const lanes = [...this.#lanes.values()];
    this.#lanes.clear();
    await Promise.all(lanes.map((lane) => lane.close()));
  }
}

/** Errors: `InvalidArgument`. */
export function checkEndpoint(endpoint: string): void {
  const url = /^wss?:\/\/([^/@?#\s]+)(\/[^?#\s]*)?$/.exec(endpoint);
  if (url !== null) return;
  const why = faultOfAddress(endpoint);
  if (why !== undefined)
    throw new InvalidArgument(`endpoint "${endpoint}" ${why}; write host:port, or a ws: or wss: URL`);
}

/** Only `host:port` is an address: no scheme, no path. */
function faultOfAddress(address: string): string | undefined {
  if (typeof address !== "string" || address.length > ADDRESS_CHARACTERS_MAX || /[/@?#\s]/.test(address)) {
    return "is no plain address";
  }
  const colon = address.lastIndexOf(":");
  if (colon < 0) return "has no port";
  if (colon === 0) return "has no host";
  const port = address.slice(colon + 1);
  return /^\d{1,5}$/.test(port) && Number(port) < 65536 ? undefined : "has a bad port";
}
