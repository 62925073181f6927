// News of a stream, as the parts of the package hear it.
//
// A *ticket* is the client's own count of what was pushed, from 1; a *sequence* is the number in the session. They part
// when a row is refused: it keeps its ticket and uses up no sequence. Ranges include their last.

import type { Failure } from "./failure.js";

/** Rows that are in the log; as many tickets as sequences. */
export interface Acked {
  readonly type: "acked";
  readonly firstTicket: number;
  lastTicket: number;
  readonly firstSequence: number;
  /** For a repeat told by a resume an upper bound; 0: not known, or not committed yet. */
  readonly logIndex: number;
  readonly repeat: boolean;
  /** At the stage asked for: nothing more comes of them. */
  readonly settled: boolean;
}

/** This row was not taken, and never will be; the rows after it move up to its number. */
export interface RowRefused {
  readonly type: "refused";
  readonly ticket: number;
  readonly failure: Failure;
}

/** Only with the stage "received": acked as received, and then lost with their node. The numbers are used again. */
export interface Lost {
  readonly type: "lost";
  readonly rows: number;
}

/** The connection broke, and the session goes on. */
export interface Resumed {
  readonly type: "resumed";
  readonly address: string;
  readonly lastSequence: number;
}

/** The end of the stream; nothing follows. Tickets from `unsentFrom` on were surely not taken, others are in doubt. */
export interface Stopped {
  readonly type: "stopped";
  readonly failure: Failure;
  readonly unsentFrom: number;
}

export type Event = Acked | RowRefused | Lost | Resumed | Stopped;
