// Observations and embeddings: from JavaScript to the wire and back, and what is checked on the way.
//
// The checks are those of the server's door, so that a wrong row is told before anything is sent. What depends on the
// space's metric and precision (no direction, too large for a half float) the server alone can check.

import { encodeObservation } from "./encode.js";
import { InvalidArgument } from "./errors.js";
import type { Value as WireValue } from "./gen/engram/v1/types_pb.js";
import * as limits from "./limits.js";

/** What metadata may hold. Whole numbers travel as integers of 64 bits, as bigints do; other numbers as reals, which
 * are finite. An integer beyond 2^53 comes back as a bigint. */
export type Value = string | number | bigint | boolean;
/** Whole milliseconds since the Unix epoch, or a date. */
export type Time = number | Date;
/** Components in any array; they travel as 32-bit floats. */
export type Vector = ArrayLike<number>;

/** What is to be remembered. */
export interface Observation {
  readonly text: string;
  readonly embedding: Vector;
  /** The client's own time; kept as data, decides nothing. 0 if not given. */
  readonly timeMs?: Time | undefined;
  readonly metadata?: Readonly<Record<string, Value>> | undefined;
  /** The client's own name for it; a name replaces the row that had it before. None if empty or not given. */
  readonly id?: string | undefined;
}

const INT64 = 1n << 63n;
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const UTF8 = new TextEncoder();
const ASCII = /^[\0-\x7f]*$/;

/** One observation as it travels. A copy: what the caller does to his arrays later changes no row. Errors:
 * `InvalidArgument`. */
export function observationToWire(observation: Observation, dim: number, what: string): Uint8Array {
  if (typeof observation !== "object" || observation === null) {
    throw new InvalidArgument(`${what} is ${typeof observation}; use an object with text and embedding`);
  }
  const { text, embedding, timeMs = 0, metadata = {}, id = "" } = observation;
  // What the server calls white space, too.
  if (typeof text !== "string" || !/\P{White_Space}/u.test(text)) {
    throw new InvalidArgument(`${what}: text is empty; an observation needs a text`);
  }
  if (utf8Bytes(text, what) > limits.TEXT_BYTES_MAX) {
    throw new InvalidArgument(`${what}: text has over ${limits.TEXT_BYTES_MAX} bytes; split it`);
  }
  if (typeof id !== "string" || utf8Bytes(id, what) > limits.ID_BYTES_MAX) {
    throw new InvalidArgument(`${what}: id is no text of at most ${limits.ID_BYTES_MAX} bytes; shorten it`);
  }
  return encodeObservation({
    text,
    embedding: vectorToWire(embedding, dim, `${what}: embedding`),
    timeMs: timeToWire(timeMs, what),
    metadata: metadataToWire(metadata, what),
    id,
  });
}

/** `[f32; dim]`, little-endian. Errors: `InvalidArgument` for another length and for what is not finite. */
export function vectorToWire(vector: Vector, dim: number, what: string): Uint8Array {
  if (typeof vector !== "object" || vector === null || typeof vector.length !== "number") {
    throw new InvalidArgument(`${what} is no array of numbers`);
  }
  if (vector.length !== dim) {
    throw new InvalidArgument(`${what} has ${vector.length} components; the space has ${dim} dimensions`);
  }
  const floats = new Float32Array(vector);
  for (let at = 0; at < floats.length; at += 1) {
    if (Number.isFinite(floats[at])) continue;
    throw new InvalidArgument(`${what}[${at}] is ${vector[at]}; send finite numbers of 32 bits`);
  }
  return swapped(new Uint8Array(floats.buffer));
}

/** `null` where none was asked for. */
export function vectorFromWire(bytes: Uint8Array): Float32Array | null {
  // A copy, as the message's bytes may lie anywhere.
  return bytes.length === 0 ? null : new Float32Array(swapped(bytes.slice()).buffer);
}

function swapped(bytes: Uint8Array): Uint8Array {
  if (!LITTLE_ENDIAN) for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return bytes;
}

/** Errors: `InvalidArgument` for a text that is not Unicode. */
function utf8Bytes(text: string, what: string): number {
  if (ASCII.test(text)) return text.length;
  if (/\p{Surrogate}/u.test(text)) throw new InvalidArgument(`${what}: half a surrogate pair; send valid Unicode`);
  return UTF8.encode(text).length;
}

type Metadata = Readonly<Record<string, Value>>;

function metadataToWire(metadata: Metadata, what: string): [key: string, kind: WireValue["kind"]][] {
  if (typeof metadata !== "object" || metadata === null) throw new InvalidArgument(`${what}: metadata is no object`);
  const entries = Object.entries(metadata);
  if (entries.length > limits.METADATA_ENTRIES_MAX) {
    const most = limits.METADATA_ENTRIES_MAX;
    throw new InvalidArgument(`${what}: metadata has ${entries.length} entries; at most ${most}`);
  }
  let bytes = 0;
  for (const [key, value] of entries) {
    bytes += utf8Bytes(key, what) + (typeof value === "string" ? utf8Bytes(value, what) : 8);
  }
  if (bytes > limits.METADATA_BYTES_MAX) {
    throw new InvalidArgument(`${what}: metadata has ${bytes} bytes; at most ${limits.METADATA_BYTES_MAX}`);
  }
  return entries.map(([key, value]) => [key, valueToWire(key, value, what).kind]);
}

/** One value of metadata. Errors: `InvalidArgument`. */
export function valueToWire(key: string, value: Value, what = "where"): Pick<WireValue, "kind"> {
  const wrong = (text: string) => new InvalidArgument(`${what}: the value of "${key}" is ${text}`);
  switch (typeof value) {
    case "string":
      return { kind: { case: "text", value } };
    case "boolean":
      return { kind: { case: "boolean", value } };
    case "bigint":
      if (value < -INT64 || value >= INT64) {
        throw wrong(`${value}; integers have 64 bits`);
      }
      return { kind: { case: "integer", value } };
    case "number":
      if (!Number.isFinite(value)) throw wrong(`${value}; send a finite number`);
      if (Number.isSafeInteger(value)) return { kind: { case: "integer", value: BigInt(value) } };
      return { kind: { case: "real", value } };
    default:
      throw wrong(`${typeof value}; use a text, a number or a boolean`);
  }
}

/** Values of kinds that this version does not know are left out. */
export function metadataFromWire(metadata: Record<string, WireValue>): Record<string, Value> {
  const values: [string, Value][] = [];
  for (const [key, { kind }] of Object.entries(metadata)) {
    if (kind.case === "integer") {
      const near = Number(kind.value);
      values.push([key, Number.isSafeInteger(near) ? near : kind.value]);
    } else if (kind.case !== undefined) {
      values.push([key, kind.value]);
    }
  }
  return Object.fromEntries(values);
}

/** Errors: `InvalidArgument` for what is no whole number of milliseconds. */
export function timeToWire(time: Time, what: string): bigint {
  const ms = time instanceof Date ? time.getTime() : time;
  if (!Number.isSafeInteger(ms)) {
    throw new InvalidArgument(`${what}: time is ${String(time)}; use whole milliseconds since 1970, or a valid Date`);
  }
  return BigInt(ms);
}

/** 1 to 128 bytes of letters, digits and `. _ - / :`. Errors: `InvalidArgument`. */
export function checkSpaceName(name: string): void {
  if (typeof name !== "string" || name === "") throw new InvalidArgument("the space has no name; name one");
  if (utf8Bytes(name, "the space's name") > limits.SPACE_NAME_BYTES_MAX) {
    throw new InvalidArgument(`the space's name has over ${limits.SPACE_NAME_BYTES_MAX} bytes; shorten it`);
  }
  const bad = /[^\p{Alphabetic}\p{N}._\-/:]/u.exec(name);
  if (bad !== null) {
    throw new InvalidArgument(`the space's name has "${bad[0]}"; use letters, digits and . _ - / :`);
  }
}
