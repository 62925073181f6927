// Requests as they travel: each a `MemoryRequest` in one binary frame.

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  AckStage,
  type CallRequestSchema,
  MemoryRequestSchema,
  type ObserveRequestSchema,
  Priority,
  type RecallRequestSchema,
} from "./gen/engram/v1/memory_pb.js";
import type { WatchRequestSchema } from "./gen/engram/v1/rows_pb.js";
import { DEADLINE_MS_MAX } from "./limits.js";
import type { ObserveOptions } from "./options.js";

/** The node's wait ends a little before ours, so that it can still say how far behind it is. */
const NODE_SHARE = 0.8;

export type Frame = Uint8Array<ArrayBuffer>;
type Init = MessageInitShape<typeof MemoryRequestSchema>["message"];
/** What is asked of a call. */
export type CallInit = NonNullable<MessageInitShape<typeof CallRequestSchema>["request"]>;
type Observe = MessageInitShape<typeof ObserveRequestSchema>["message"];

export const STAGES = {
  received: AckStage.RECEIVED,
  committed: AckStage.COMMITTED,
  searchable: AckStage.SEARCHABLE,
} as const;

const PRIORITIES = { high: Priority.HIGH, normal: Priority.NORMAL, low: Priority.LOW } as const;

function frame(message: Init): Frame {
  return toBinary(MemoryRequestSchema, create(MemoryRequestSchema, message === undefined ? {} : { message }));
}

/** What opens a session. */
export function openFrame(space: string, options: ObserveOptions, traceparent: string): Frame {
  return observeFrame({ case: "open", value: { space, traceparent, ...streamed(options) } });
}

/** What takes a session up again. */
export function resumeFrame(
  session: bigint,
  incarnation: bigint,
  options: ObserveOptions,
  traceparent: string,
): Frame {
  return observeFrame({ case: "resume", value: { session, incarnation, traceparent, ...streamed(options) } });
}

function observeFrame(message: Observe): Frame {
  return frame({ case: "observe", value: message === undefined ? {} : { message } });
}

function streamed({ stage, priority, searchableNodes }: ObserveOptions) {
  return { ackStage: STAGES[stage], priority: PRIORITIES[priority], searchableNodes };
}

/** Rows that are on the wire's form already: it is written around them, so that a row is encoded once, however often it
 * is sent. Field numbers: `MemoryRequest.observe`, `ObserveRequest.batch`, `ObserveBatch`. */
export function batchFrame(firstSequence: number, rows: readonly Uint8Array[]): Frame {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).fork();
  writer.tag(3, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.Varint).uint64(firstSequence);
  for (const row of rows) writer.tag(2, WireType.LengthDelimited).bytes(row);
  return writer.join().join().finish();
}

/** One recall; the node may wait for most of `leftMs`. */
export function recallFrame(
  question: MessageInitShape<typeof RecallRequestSchema>,
  requestId: bigint,
  leftMs: number,
): Frame {
  const deadlineMs = Math.min(Math.max(1, Math.floor(leftMs * NODE_SHARE)), DEADLINE_MS_MAX);
  return frame({ case: "recall", value: { ...question, requestId, deadlineMs } });
}

/** One call. */
export function callFrame(request: CallInit, callId: bigint): Frame {
  return frame({ case: "call", value: { callId, request } });
}

/** The only watch of a stream. */
export function watchFrame(request: MessageInitShape<typeof WatchRequestSchema>): Frame {
  return frame({ case: "watch", value: { watchId: 1n, request } });
}
