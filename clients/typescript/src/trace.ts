// W3C's `traceparent`: to which trace a call belongs, and under which span of it.

import { InvalidArgument } from "./errors.js";

/** Version 0 has no further part, later ones may have some; 255 is none. Ids are not zero. */
const SHAPE = /^(?!ff)([0-9a-f]{2})-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?$/;

/** Errors: `InvalidArgument`. */
export function checkTraceparent(traceparent: string): string {
  const parts = typeof traceparent === "string" ? SHAPE.exec(traceparent) : null;
  if (parts === null || (parts[1] === "00" && parts[2] !== undefined)) {
    throw new InvalidArgument(`traceparent "${traceparent}": write 00-<32 hex digits>-<16 hex digits>-01`);
  }
  return traceparent;
}
