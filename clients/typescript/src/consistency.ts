// How fresh a read must be.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { InvalidArgument } from "./errors.js";
import type { RecallRequestSchema } from "./gen/engram/v1/memory_pb.js";
import { STALENESS_MS_MAX } from "./limits.js";

/** A point in the log that a later read must not fall behind. Plain data, to be sent to another process as it is, or by
 * JSON with the incarnation as a text: JSON has no bigints. */
export interface ReadToken {
  /** Highest log index acked or seen; 0: none yet. */
  readonly logIndex: number;
  /** The cluster's incarnation, which a restore changes; 0: not known, not checked. */
  readonly incarnation: bigint;
}

/** At least a given point, such as the token of another client or process. */
export interface AtLeast {
  readonly level: "atLeast";
  readonly token: ReadToken;
}

/** All that was acked to anybody earlier than this before the read began. */
export interface Bounded {
  readonly level: "bounded";
  readonly stalenessMs: number;
}

/** `"session"`, the default: all that was acked to this client, and never back in time. */
export type Consistency = "eventual" | "session" | "linearizable" | AtLeast | Bounded;

/** The level that holds at least that point in the log. */
export function atLeast(token: ReadToken): AtLeast {
  return { level: "atLeast", token };
}

/** The level that may lack only what was acked in the last so many milliseconds, at most a day.
 * Errors: `InvalidArgument`. */
export function bounded(stalenessMs: number): Bounded {
  if (!(Number.isInteger(stalenessMs) && stalenessMs >= 0 && stalenessMs <= STALENESS_MS_MAX)) {
    throw new InvalidArgument(`stalenessMs is ${stalenessMs}; give whole milliseconds, 0 to ${STALENESS_MS_MAX}`);
  }
  return { level: "bounded", stalenessMs };
}

/** The later of both. Another incarnation's index means nothing here, so the newcomer then replaces it. */
export function raised(token: ReadToken, newer: ReadToken): ReadToken {
  if (newer.incarnation && token.incarnation && newer.incarnation !== token.incarnation) return newer;
  return {
    logIndex: Math.max(token.logIndex, newer.logIndex),
    incarnation: newer.incarnation > token.incarnation ? newer.incarnation : token.incarnation,
  };
}

export function tokenToWire({ logIndex, incarnation }: ReadToken): { logIndex: bigint; incarnation: bigint } {
  return { logIndex: BigInt(logIndex), incarnation };
}

/** The level as a field of a request. */
export type WireLevel = NonNullable<MessageInitShape<typeof RecallRequestSchema>["consistency"]>;

/** The level of a request; `session` is this client's token. Errors: `InvalidArgument`. */
export function levelToWire(consistency: Consistency, session: ReadToken): WireLevel {
  if (consistency === "eventual") return { case: "eventual", value: {} };
  if (consistency === "linearizable") return { case: "linearizable", value: {} };
  if (consistency === "session") return { case: "atLeast", value: tokenToWire(session) };
  if (consistency?.level === "atLeast") return { case: "atLeast", value: tokenToWire(consistency.token) };
  if (consistency?.level === "bounded") {
    return { case: "bounded", value: { stalenessMs: bounded(consistency.stalenessMs).stalenessMs } };
  }
  const levels = "'eventual', 'session', 'linearizable', atLeast(token) or bounded(ms)";
  throw new InvalidArgument(`consistency is ${String(consistency)}; use ${levels}`);
}

/** The fields of a request that say which state it is about. Errors: `InvalidArgument`. */
export function stateToWire(
  consistency: Consistency | undefined,
  atIndex: number | undefined,
  session: ReadToken,
): { consistency: WireLevel } | { atIndex: bigint } {
  if (atIndex === undefined) return { consistency: levelToWire(consistency ?? "session", session) };
  if (consistency !== undefined) {
    throw new InvalidArgument("atIndex names the state itself; leave the consistency out");
  }
  if (!(Number.isSafeInteger(atIndex) && atIndex >= 0)) {
    throw new InvalidArgument(`atIndex is ${atIndex}; give a log index`);
  }
  return { atIndex: BigInt(atIndex) };
}
