// What calls answer with. Numbers are those of JavaScript where they count something, and bigints where all 64 bits may
// be used: sessions, incarnations, digests.

import type { ReadToken } from "./consistency.js";
import type { EngramError } from "./errors.js";
import type { Hit as WireHit } from "./gen/engram/v1/memory_pb.js";
import type { Row as WireRow, WatchResponse } from "./gen/engram/v1/rows_pb.js";
import type { Snapshot as WireSnapshot } from "./gen/engram/v1/types_pb.js";
import { metadataFromWire, type Value, vectorFromWire } from "./values.js";

/** A row that is in the log. */
export interface Ack {
  /** Its number in the session. */
  readonly sequence: number;
  /** Where in the log. 0: not known, or, with the stage "received", not committed yet. */
  readonly logIndex: number;
  /** It was committed before this connection sent it, or before the client was told so. */
  readonly repeat: boolean;
}

/** A row that was not taken, and never will be. */
export interface RefusedRow {
  /** Its place in what was given to `observeMany`, from 0. */
  readonly index: number;
  readonly error: EngramError;
}

/** What became of the rows of one `observeMany`. Rows that are in none of these counts were never sent. */
export interface Summary {
  /** Rows that were taken into the window. */
  readonly rows: number;
  /** Of these, acked at the stage asked for. */
  readonly acked: number;
  /** Rows of this stream that were acked as received and then lost with their node; only with the stage "received". */
  readonly lost: number;
  /** Of these, surely not taken. */
  readonly refused: readonly RefusedRow[];
  /** Places, from 0, of rows whose outcome is not known; empty unless the call rejected with `Unknown`. */
  readonly unknown: readonly number[];
  /** Places of rows that were taken into the window and surely not into the log, as the stream ended before. */
  readonly unsent: readonly number[];
  /** Times that the session was resumed meanwhile. */
  readonly resumes: number;
  /** What a read must reach to see all that was acked. */
  readonly token: ReadToken;
}

/** The one snapshot that an answer was computed on. */
export interface Snapshot {
  readonly node: number;
  readonly incarnation: bigint;
  readonly appliedIndex: number;
  /** Rows of the space at that index, forgotten ones included. */
  readonly rows: number;
  readonly forgotten: number;
  readonly epoch: number;
  readonly epochRows: number;
  readonly graphDigest: bigint;
  /** Rows scanned outside the graph. */
  readonly tailScanned: number;
  /** Linearizable reads: the read index that was confirmed. */
  readonly readIndex: number | null;
  /** Every write acked earlier than this before the answer is in it; null: the node has no such proof. */
  readonly stalenessMs: number | null;
}

interface Kept {
  readonly row: number;
  readonly logIndex: number;
  readonly text: string;
  /** Milliseconds since the Unix epoch: the client's own time. */
  readonly timeMs: number;
  readonly metadata: Readonly<Record<string, Value>>;
  /** The client's own name for it; empty: none. */
  readonly id: string;
  /** Null unless it was asked for. */
  readonly embedding: Float32Array | null;
}

/** A memory near the cue. */
export interface Hit extends Kept {
  /** Cosine or dot product, or the negated squared distance for l2: higher is nearer. */
  readonly score: number;
}

/** An observation in a space. */
export interface Row extends Kept {
  readonly session: bigint;
  readonly sequence: number;
}

/** The hits of a recall, best first, and their snapshot. Iterates over the hits. */
export class Answer implements Iterable<Hit> {
  readonly hits: readonly Hit[];
  readonly snapshot: Snapshot;

  /** @internal */
  constructor(hits: readonly Hit[], snapshot: Snapshot) {
    this.hits = hits;
    this.snapshot = snapshot;
  }

  [Symbol.iterator](): IterableIterator<Hit> {
    return this.hits[Symbol.iterator]();
  }
}

/** Some rows, and their snapshot. Iterates over the rows. */
export class RowSet implements Iterable<Row> {
  readonly rows: readonly Row[];
  readonly snapshot: Snapshot;

  /** @internal */
  constructor(rows: readonly Row[], snapshot: Snapshot) {
    this.rows = rows;
    this.snapshot = snapshot;
  }

  [Symbol.iterator](): IterableIterator<Row> {
    return this.rows[Symbol.iterator]();
  }
}

/** How many rows, and the snapshot. */
export interface Counted {
  readonly count: number;
  readonly snapshot: Snapshot;
}

/** What a forget did. */
export interface Forgotten {
  /** Rows that were there and are not any more. */
  readonly rows: number;
  /** From which on they are gone, and erased if that was asked for; 0: there was nothing to do. */
  readonly logIndex: number;
  /** Where the space's past begins now, if this erased; else 0. */
  readonly floor: number;
}

/** What a watch gives. */
export interface Change {
  /** In log order. */
  readonly rows: readonly Row[];
  /** Numbers of forgotten rows, in that order; after a break, some may come again. */
  readonly forgotten: readonly number[];
  /** All up to here has come: where to go on, in another process too. 0 while more of the same index is to come. */
  readonly logIndex: number;
}

export function snapshotFromWire(message: WireSnapshot): Snapshot {
  return {
    node: Number(message.node),
    incarnation: message.incarnation,
    appliedIndex: Number(message.appliedIndex),
    rows: Number(message.rows),
    forgotten: Number(message.forgotten),
    epoch: Number(message.epoch),
    epochRows: Number(message.epochRows),
    graphDigest: message.graphDigest,
    tailScanned: Number(message.tailScanned),
    readIndex: message.readIndex === undefined ? null : Number(message.readIndex),
    stalenessMs: message.stalenessMs === undefined ? null : Number(message.stalenessMs),
  };
}

export function hitFromWire(message: WireHit): Hit {
  return {
    row: Number(message.row),
    logIndex: Number(message.logIndex),
    score: message.score,
    text: message.text,
    timeMs: Number(message.timeMs),
    metadata: metadataFromWire(message.metadata),
    id: message.id,
    embedding: vectorFromWire(message.embedding),
  };
}

export function rowFromWire({ observation, ...message }: WireRow): Row {
  return {
    row: Number(message.row),
    logIndex: Number(message.logIndex),
    session: message.session,
    sequence: Number(message.sequence),
    text: observation?.text ?? "",
    timeMs: Number(observation?.timeMs ?? 0n),
    metadata: metadataFromWire(observation?.metadata ?? {}),
    id: observation?.id ?? "",
    embedding: vectorFromWire(observation?.embedding ?? new Uint8Array()),
  };
}

/** The rows of a page that come from `nextRow` on; those before are repeats. */
export function changeFromWire(page: WatchResponse, nextRow: number): Change {
  return {
    rows: page.rows.filter(({ row }) => Number(row) >= nextRow).map(rowFromWire),
    forgotten: page.forgotten.map(Number),
    logIndex: Number(page.logIndex),
  };
}
