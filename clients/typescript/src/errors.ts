// What a caller hears when something failed, with doubt in the type.
//
// A write rejects with `Refused` when it surely had no effect and with `Unknown` when it may have had one; there is
// nothing between. A read rejects with `ReadError`: nothing is in doubt, and it may be sent again.

import type { Summary } from "./results.js";

/** What is wrong, and so what to do: the kinds of the protocol. */
export type ErrorKind =
  | "UNSPECIFIED"
  | "INVALID"
  | "NOT_LEADER"
  | "OVERLOADED"
  | "SESSION_LOST"
  | "IN_DOUBT"
  | "POISONED"
  | "NOT_FOUND"
  | "EXISTS"
  | "SUPERSEDED"
  | "BEHIND"
  | "QUARANTINED"
  | "BELOW_FLOOR"
  | "UNSUPPORTED";

/** What is known of the effect of a call that failed: none for sure, perhaps one, or it was a read. */
export type Outcome = "refused" | "unknown" | "unanswered";

/** @internal */
export interface ErrorFields {
  kind?: ErrorKind;
  retryAfterMs?: number;
  cause?: unknown;
}

/** Base of all errors of this package. Its message says what, where and what to do. */
export abstract class EngramError extends Error {
  /** Its class, by a name that bundlers leave as it is. */
  abstract override readonly name: string;
  abstract readonly outcome: Outcome;
  /** What is wrong. */
  readonly kind: ErrorKind;
  /** When the server has room again, in milliseconds; 0: it did not say. */
  readonly retryAfterMs: number;
  /** What became of each row; set by `observeMany` alone. */
  summary?: Summary;

  /** @internal */
  constructor(message: string, { kind = "UNSPECIFIED", retryAfterMs = 0, ...options }: ErrorFields = {}) {
    super(message, options);
    this.kind = kind;
    this.retryAfterMs = retryAfterMs;
  }
}

/** It surely had no effect; `kind` says why. */
export class Refused extends EngramError {
  override readonly name: string = "Refused";
  readonly outcome = "refused";
}

/** The input is wrong; correct it. Nothing of it was taken. */
export class InvalidArgument extends Refused {
  override readonly name = "InvalidArgument";

  /** @internal */
  constructor(message: string, fields: ErrorFields = {}) {
    super(message, { ...fields, kind: "INVALID" });
  }
}

/** It may or may not have had its effect, and was not sent again. Look before you repeat it. */
export class Unknown extends EngramError {
  override readonly name: string = "Unknown";
  readonly outcome = "unknown";
}

/** A read had no answer. Reads have no effect: ask again, later or with a longer deadline. */
export class ReadError extends EngramError {
  override readonly name: string = "ReadError";
  readonly outcome = "unanswered";
}
