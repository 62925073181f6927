// A space's configuration: checked before it is sent, and compared with what is there.

import { InvalidArgument, Refused } from "./errors.js";
import { Metric as WireMetric, Precision as WirePrecision } from "./gen/engram/v1/spaces_pb.js";
import type { CallValue } from "./lane.js";
import { DIM_MAX, DIM_MIN, TTL_MS_MIN } from "./limits.js";
import type { SpaceInfo } from "./status.js";
import { checkSpaceName } from "./values.js";

/** How near two embeddings are. */
export type Metric = "cosine" | "dot" | "l2";
/** How embeddings are stored. */
export type Precision = "f16" | "f32";

const METRICS = { cosine: WireMetric.COSINE, dot: WireMetric.DOT, l2: WireMetric.L2 } as const;
const PRECISIONS = { f16: WirePrecision.F16, f32: WirePrecision.F32 } as const;

/** What a space is made with; what is not given the server chooses. */
export interface SpaceConfig {
  /** "cosine". */
  readonly metric?: Metric;
  /** "f16". */
  readonly precision?: Precision;
  /** Links a row makes. */
  readonly m?: number;
  /** Width of the search that finds them. */
  readonly efConstruction?: number;
  /** Rows are forgotten so long after they were committed; 0: never. */
  readonly ttlMs?: number;
  /** How long what is forgotten stays in the past that `atIndex` reads; an hour. */
  readonly historyMs?: number;
}

/** Errors: `InvalidArgument`. */
export function configToWire(
  name: string,
  dim: number | undefined,
  config: SpaceConfig,
): NonNullable<CallValue<"createSpace">["config"]> {
  checkSpaceName(name);
  const { metric, precision, m = 0, efConstruction = 0, ttlMs = 0, historyMs = 0 } = config;
  if (dim !== undefined && !(Number.isInteger(dim) && dim >= DIM_MIN && dim <= DIM_MAX)) {
    throw new InvalidArgument(`dim is ${dim}; a space has ${DIM_MIN} to ${DIM_MAX} dimensions`);
  }
  if (metric !== undefined && !Object.hasOwn(METRICS, metric)) {
    throw new InvalidArgument(`metric is ${String(metric)}; use 'cosine', 'dot' or 'l2'`);
  }
  if (precision !== undefined && !Object.hasOwn(PRECISIONS, precision)) {
    throw new InvalidArgument(`precision is ${String(precision)}; use 'f16' or 'f32'`);
  }
  for (const [what, number] of Object.entries({ m, efConstruction, ttlMs, historyMs })) {
    if (Number.isSafeInteger(number) && number >= 0) continue;
    throw new InvalidArgument(`${what} is ${number}; give a whole number, or 0 for the server's default`);
  }
  if (ttlMs !== 0 && ttlMs < TTL_MS_MIN) {
    throw new InvalidArgument(`ttlMs is ${ttlMs}; at least ${TTL_MS_MIN}, or 0 for none`);
  }
  return {
    name,
    dim: dim ?? 0,
    metric: metric === undefined ? WireMetric.UNSPECIFIED : METRICS[metric],
    precision: precision === undefined ? WirePrecision.UNSPECIFIED : PRECISIONS[precision],
    m,
    efConstruction,
    ttlMs: BigInt(ttlMs),
    historyMs: BigInt(historyMs),
  };
}

/** A space that is there must be what was asked for. Errors: `Refused` with the kind EXISTS. */
export function checkSame(dim: number | undefined, { metric, precision, ttlMs }: SpaceConfig, have: SpaceInfo): void {
  for (const [what, value] of Object.entries({ dim, metric, precision, ttlMs })) {
    const there = have[what as "dim" | "metric" | "precision" | "ttlMs"];
    if (value === undefined || value === 0 || value === there) continue;
    const text = `space "${have.name}" exists with ${what} ${there}, not ${value}; choose another name or drop it`;
    throw new Refused(text, { kind: "EXISTS" });
  }
}
