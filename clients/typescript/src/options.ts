// How the client waits and streams, each knob with its unit and default.

import { InvalidArgument } from "./errors.js";
import { BATCH_ROWS_MAX, MESSAGE_BYTES_MAX } from "./limits.js";
import type { WebSocketConstructor } from "./websocket.js";

/** When a row counts as acked: admitted on its node, durable on a quorum, or found by recalls. */
export type AckStage = "received" | "committed" | "searchable";
/** The lane by which the server admits a stream's rows. */
export type Priority = "high" | "normal" | "low";

/** The client's waits, in milliseconds. */
export interface Timing {
  /** For a connection; 2,000. */
  readonly connectMs: number;
  /** A peer that owes an answer and was not heard for so long is taken for dead; without credit six times that.
   * 5,000. */
  readonly silenceMs: number;
  /** The first wait between two attempts; it doubles from there, with jitter down to its half. 50. */
  readonly backoffMinMs: number;
  /** The longest wait between two attempts, unless the server asks for more; 2,000. */
  readonly backoffMaxMs: number;
  /** For a call that has no deadline of its own, and for opening a session, attempts included; 30,000. */
  readonly deadlineMs: number;
  /** A stream that made no progress for so long, with rows waiting, gives up; 300,000. */
  readonly giveUpMs: number;
}

/** How a space's observations are streamed. */
export interface ObserveOptions {
  /** When a row counts as acked; "committed". */
  readonly stage: AckStage;
  /** With "searchable": on so many nodes at least; 0, the default: on the one that takes the stream. */
  readonly searchableNodes: number;
  /** The admission lane; "normal". */
  readonly priority: Priority;
  /** Rows kept unacked, over which `observe` waits; 4,096. The server's credit may ask for less in flight. */
  readonly windowRows: number;
  /** The same in bytes; 16 MiB. */
  readonly windowBytes: number;
  /** Rows of one batch, 1 to 1,000; 500. */
  readonly batchRows: number;
  /** Bytes of one batch, rounded up to a row, at most 8 MiB; 1 MiB. */
  readonly batchBytes: number;
  /** How long a row may wait for others to share its batch while earlier ones are in flight, in milliseconds; 1. */
  readonly lingerMs: number;
}

/** What `connect` takes. */
export interface ConnectOptions {
  /** What differs from the default waits. */
  readonly timing?: Partial<Timing>;
  /** Feeds jitter and the choice of the first node: a client with a seed draws the same again. */
  readonly seed?: number;
  /** The class of its connections: by default the platform's `WebSocket`, and where there is none that of `ws`. */
  readonly webSocket?: WebSocketConstructor;
  /** Hears of breaks and resumes, a line each. */
  readonly log?: (line: string) => void;
}

const TIMING: Timing = {
  connectMs: 2000,
  silenceMs: 5000,
  backoffMinMs: 50,
  backoffMaxMs: 2000,
  deadlineMs: 30_000,
  giveUpMs: 300_000,
};

const OBSERVE: ObserveOptions = {
  stage: "committed",
  searchableNodes: 0,
  priority: "normal",
  windowRows: 4096,
  windowBytes: 16 << 20,
  batchRows: 500,
  batchBytes: 1 << 20,
  lingerMs: 1,
};

/** Errors: `InvalidArgument` for a wait that is none. */
export function completeTiming(given: Partial<Timing> = {}): Timing {
  const timing = { ...TIMING, ...given };
  for (const [name, wait] of Object.entries(timing)) {
    if (!(wait >= 0)) throw new InvalidArgument(`${name} is ${wait}; give milliseconds`);
  }
  return timing;
}

/** The same with every bound kept. Errors: `InvalidArgument` for a stage, priority or number that is none. */
export function completeObserve(given: Partial<ObserveOptions> = {}): ObserveOptions {
  const options = { ...OBSERVE, ...given };
  if (!["received", "committed", "searchable"].includes(options.stage)) {
    throw new InvalidArgument(`stage is ${options.stage}; use 'received', 'committed' or 'searchable'`);
  }
  if (!["high", "normal", "low"].includes(options.priority)) {
    throw new InvalidArgument(`priority is ${options.priority}; use 'high', 'normal' or 'low'`);
  }
  for (const name of ["searchableNodes", "windowRows", "windowBytes", "batchRows", "batchBytes"] as const) {
    if (!Number.isInteger(options[name])) throw new InvalidArgument(`${name} is ${options[name]}; give a whole number`);
  }
  if (!(options.lingerMs >= 0)) throw new InvalidArgument(`lingerMs is ${options.lingerMs}; give milliseconds`);
  return {
    ...options,
    windowRows: Math.max(1, options.windowRows),
    windowBytes: Math.max(1, options.windowBytes),
    batchRows: Math.min(Math.max(1, options.batchRows), BATCH_ROWS_MAX),
    batchBytes: Math.min(Math.max(1, options.batchBytes), MESSAGE_BYTES_MAX / 2),
  };
}
