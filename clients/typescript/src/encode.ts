// Observations as they travel, written in one pass: a load is made of these, and little else takes time in it.
//
// Invariant: what the generated code reads from these bytes is what it would have written; a test holds it to that.

import type { Value as WireValue } from "./gen/engram/v1/types_pb.js";

const UTF8 = new TextEncoder();
/** Wire types of protobuf, in the low bits of a tag. */
const [VARINT, FIXED64, BYTES] = [0, 1, 2];
/** UTF-8 has at most so many bytes for one unit of a JavaScript string. */
const BYTES_OF_UNIT_MAX = 3;
const VARINT_BYTES_MAX = 10;
const ONE_BYTE_MAX = 0x7f;
const INITIAL_BYTES = 4096;

/** Writes protobuf's fields into one buffer that is used again. */
class Writer {
  #bytes = new Uint8Array(INITIAL_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  /** What was written since the last `take`: a copy. */
  take(): Uint8Array {
    const bytes = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    return bytes;
  }

  bytes(field: number, bytes: Uint8Array): void {
    this.#reserve(bytes.length + 2 * VARINT_BYTES_MAX);
    this.#varint((field << 3) | BYTES);
    this.#varint(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  string(field: number, text: string): void {
    const most = text.length * BYTES_OF_UNIT_MAX;
    if (most > ONE_BYTE_MAX) return this.bytes(field, UTF8.encode(text));
    this.#reserve(most + 2 * VARINT_BYTES_MAX);
    this.#varint((field << 3) | BYTES);
    // Its length fits into the byte before it, whatever it will be.
    const { written } = UTF8.encodeInto(text, this.#bytes.subarray(this.#at + 1));
    this.#bytes[this.#at] = written;
    this.#at += 1 + written;
  }

  /** Zigzag, for what may be negative. */
  sint64(field: number, value: bigint): void {
    this.#reserve(2 * VARINT_BYTES_MAX);
    this.#varint((field << 3) | VARINT);
    let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
    while (rest > ONE_BYTE_MAX) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#at++] = Number(rest);
  }

  double(field: number, value: number): void {
    this.#reserve(2 * VARINT_BYTES_MAX);
    this.#varint((field << 3) | FIXED64);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  boolean(field: number, value: boolean): void {
    this.#reserve(2 * VARINT_BYTES_MAX);
    this.#varint((field << 3) | VARINT);
    this.#bytes[this.#at++] = value ? 1 : 0;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > ONE_BYTE_MAX) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #reserve(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(2 * this.#bytes.length, this.#at + more));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

const row = new Writer();
/** Of parts whose length comes before them. */
const [value, entry] = [new Writer(), new Writer()];

/** What an observation has, checked. */
export interface ObservationParts {
  readonly text: string;
  readonly embedding: Uint8Array;
  readonly timeMs: bigint;
  readonly metadata: readonly (readonly [key: string, value: WireValue["kind"]])[];
  readonly id: string;
}

/** The fields of `Observation`; what has its default is left out, as protobuf does. */
export function encodeObservation({ text, embedding, timeMs, metadata, id }: ObservationParts): Uint8Array {
  row.string(1, text);
  row.bytes(2, embedding);
  if (timeMs !== 0n) row.sint64(3, timeMs);
  for (const [key, kind] of metadata) {
    encodeValue(kind);
    entry.string(1, key);
    entry.bytes(2, value.take());
    row.bytes(4, entry.take());
  }
  if (id !== "") row.string(5, id);
  return row.take();
}

/** The kinds of `Value`: one of them is set, so its default is written too. */
function encodeValue(kind: WireValue["kind"]): void {
  if (kind.case === "text") value.string(1, kind.value);
  else if (kind.case === "integer") value.sint64(2, kind.value);
  else if (kind.case === "real") value.double(3, kind.value);
  else if (kind.case === "boolean") value.boolean(4, kind.value);
}
