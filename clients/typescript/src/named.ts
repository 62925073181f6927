// Rows that are named: for a get, or to be forgotten.

import { InvalidArgument } from "./errors.js";
import { type Where, whereToWire } from "./filters.js";
import type { CallValue } from "./lane.js";
import { ID_BYTES_MAX, ROWS_NAMED_MAX } from "./limits.js";

const UTF8 = new TextEncoder();
const ROWS_END = 2 ** 32;

/** Rows by number, and by their own ids. */
export interface Named {
  readonly rows?: readonly number[];
  readonly ids?: readonly string[];
}

/** What is to be forgotten: one of the four. */
export interface Which extends Named {
  /** Rows that it means, of those that were acked to anybody before the call. */
  readonly where?: Where;
  /** Rows that were committed so many milliseconds ago or longer, by log time. */
  readonly olderThanMs?: number;
}

/** Some, not too many, no number beyond what a space can hold, no id that is none. Errors: `InvalidArgument`. */
export function namedToWire({ rows = [], ids = [] }: Named): { rows: bigint[]; ids: string[] } {
  const count = rows.length + ids.length;
  if (!(count >= 1 && count <= ROWS_NAMED_MAX)) {
    throw new InvalidArgument(`${count} rows are named; name 1 to ${ROWS_NAMED_MAX}`);
  }
  for (const row of rows) {
    if (!(Number.isInteger(row) && row >= 0 && row < ROWS_END)) {
      throw new InvalidArgument(`row ${row} is beyond what a space can hold`);
    }
  }
  for (const id of ids) {
    const bytes = typeof id === "string" ? UTF8.encode(id).length : 0;
    if (bytes < 1 || bytes > ID_BYTES_MAX) {
      throw new InvalidArgument(`an id has ${bytes} bytes; 1 to ${ID_BYTES_MAX}`);
    }
  }
  return { rows: rows.map(BigInt), ids: [...ids] };
}

/** Errors: `InvalidArgument`. */
export function forgetToWire(space: string, which: Which, erase: boolean): CallValue<"forget"> {
  const { rows, ids, where, olderThanMs } = which;
  const given = [rows, ids, where, olderThanMs].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw new InvalidArgument("forget what? give one of rows, ids, where and olderThanMs");
  }
  if (rows !== undefined) {
    return { space, erase, which: { case: "rows", value: { rows: namedToWire({ rows }).rows } } };
  }
  if (ids !== undefined) {
    return { space, erase, which: { case: "ids", value: { ids: namedToWire({ ids }).ids } } };
  }
  if (where !== undefined) {
    return { space, erase, which: { case: "filter", value: whereToWire(where) } };
  }
  if (!(Number.isSafeInteger(olderThanMs) && Number(olderThanMs) >= 0)) {
    throw new InvalidArgument(`olderThanMs is ${olderThanMs}; give whole milliseconds of age`);
  }
  return { space, erase, which: { case: "olderThanMs", value: BigInt(olderThanMs ?? 0) } };
}
