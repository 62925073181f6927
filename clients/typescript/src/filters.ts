// Which rows are meant, by their own time and metadata. A key that a row does not have matches nothing but a `not`.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { InvalidArgument } from "./errors.js";
import { type Filter as WireFilter, FilterSchema } from "./gen/engram/v1/types_pb.js";
import { FILTER_DEPTH_MAX, FILTER_PARTS_MAX } from "./limits.js";
import { type Time, timeToWire, type Value, valueToWire } from "./values.js";

type Init = MessageInitShape<typeof FilterSchema>;

/** What `where` takes: a condition, or an object of which every key has the value, or one of the values of a list:
 * `{ topic: "fish", year: [2025, 2026] }`. */
export type Where = Filter | Readonly<Record<string, Value | readonly Value[]>>;

/** A condition; made by `field` and `timeRange`. */
export class Filter {
  /** @internal */
  readonly message: WireFilter;

  /** @internal */
  constructor(init: Init) {
    this.message = create(FilterSchema, init);
  }

  /** Both hold. */
  and(other: Filter): Filter {
    return new Filter({ kind: { case: "all", value: { filters: [this.message, other.message] } } });
  }

  /** One of both holds, or both do. */
  or(other: Filter): Filter {
    return new Filter({ kind: { case: "any", value: { filters: [this.message, other.message] } } });
  }

  /** This does not hold. */
  not(): Filter {
    return new Filter({ kind: { case: "not", value: this.message } });
  }
}

/** The bounds of a range; one at least. */
export interface RangeBounds {
  readonly atLeast?: Value;
  readonly greaterThan?: Value;
  readonly atMost?: Value;
  readonly lessThan?: Value;
}

/** A key of the metadata. */
export class Field {
  readonly key: string;

  /** @internal */
  constructor(key: string) {
    this.key = key;
  }

  /** Its value is among these. Integers and reals are compared as numbers, other kinds are never equal. */
  oneOf(...values: Value[]): Filter {
    const { key } = this;
    const wire = values.map((value) => valueToWire(key, value));
    return new Filter({ kind: { case: "oneOf", value: { key, values: wire } } });
  }

  /** Its value is within these bounds: texts by their bytes, numbers as numbers. Errors: `InvalidArgument`. */
  range(bounds: RangeBounds): Filter {
    const { key } = this;
    const given = Object.entries(bounds).filter(([, bound]) => bound !== undefined);
    if (given.length === 0) throw new InvalidArgument(`the range of "${key}" has no bound; give one`);
    const wire = Object.fromEntries(given.map(([name, bound]) => [name, valueToWire(key, bound as Value)]));
    return new Filter({ kind: { case: "range", value: { key, ...wire } } });
  }

  /** The row has this key. */
  exists(): Filter {
    return new Filter({ kind: { case: "exists", value: this.key } });
  }
}

/** A key of the metadata, to make a condition of. */
export function field(key: string): Field {
  return new Field(key);
}

/** By the observation's own time; `until` is not itself in the range. Errors: `InvalidArgument`. */
export function timeRange({ from, until }: { readonly from?: Time; readonly until?: Time }): Filter {
  if (from === undefined && until === undefined) {
    throw new InvalidArgument("the time range has no bound; give from or until");
  }
  const bounds = {
    ...(from === undefined ? {} : { fromMs: timeToWire(from, "the range's from") }),
    ...(until === undefined ? {} : { untilMs: timeToWire(until, "the range's until") }),
  };
  return new Filter({ kind: { case: "time", value: bounds } });
}

/** The filter of a request. Errors: `InvalidArgument`, for one that is nested too deep or too large as well. */
export function whereToWire(where: Where): WireFilter {
  if (typeof where !== "object" || where === null) {
    throw new InvalidArgument(`where is ${typeof where}; give an object, or a filter made by field()`);
  }
  const message = where instanceof Filter ? where.message : equal(where);
  const parts = countParts(message, 1);
  if (parts > FILTER_PARTS_MAX) {
    throw new InvalidArgument(`the filter has ${parts} parts and values; at most ${FILTER_PARTS_MAX}; split it`);
  }
  return message;
}

function equal(where: Readonly<Record<string, Value | readonly Value[]>>): WireFilter {
  const filters = Object.entries(where).map(([key, value]) => {
    const values = Array.isArray(value) ? (value as readonly Value[]) : [value as Value];
    return field(key).oneOf(...values).message;
  });
  return new Filter({ kind: { case: "all", value: { filters } } }).message;
}

function countParts({ kind }: WireFilter, depth: number): number {
  if (depth > FILTER_DEPTH_MAX) {
    throw new InvalidArgument(`the filter is nested deeper than ${FILTER_DEPTH_MAX}; flatten it`);
  }
  switch (kind.case) {
    case "all":
    case "any":
      return kind.value.filters.reduce((sum, part) => sum + countParts(part, depth + 1), 1);
    case "not":
      return 1 + countParts(kind.value, depth + 1);
    case "oneOf":
      return 1 + kind.value.values.length + checkKey(kind.value.key);
    case "range":
      return 1 + checkKey(kind.value.key);
    case "exists":
      return 1 + checkKey(kind.value);
    default:
      return 1;
  }
}

function checkKey(key: string): 0 {
  if (key === "") throw new InvalidArgument("a filter's key is empty; name a key of the metadata");
  return 0;
}
