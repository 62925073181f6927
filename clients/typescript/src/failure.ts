// One attempt that failed, inside the package: the protocol's ErrorDetail and what is known of the connection.

import { type ErrorKind, InvalidArgument, ReadError, Refused, Unknown } from "./errors.js";
import { type ErrorDetail, ErrorKind as WireKind, WriteClass } from "./gen/engram/v1/types_pb.js";

/** Kinds after which another node, or the same one later, may answer better. */
const PASSING: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  "UNSPECIFIED",
  "NOT_LEADER",
  "OVERLOADED",
  "IN_DOUBT",
  "POISONED",
  "BEHIND",
  "QUARANTINED",
]);

export interface FailureFields {
  kind?: ErrorKind;
  /** The server's word that this attempt surely had no effect. */
  rejected?: boolean;
  retryAfterMs?: number;
  leaderAddress?: string;
  /** With SESSION_LOST: the last sequence that was committed, if it is still known. */
  lastSequence?: number | undefined;
  /** The request surely never left: there was no connection. */
  undialled?: boolean;
  /** No server said this, so the connection is suspect. */
  broken?: boolean;
}

export class Failure extends Error {
  readonly kind: ErrorKind;
  readonly rejected: boolean;
  readonly retryAfterMs: number;
  readonly leaderAddress: string;
  readonly lastSequence: number | undefined;
  readonly undialled: boolean;
  readonly broken: boolean;

  constructor(message: string, fields: FailureFields = {}) {
    super(message);
    this.kind = fields.kind ?? "IN_DOUBT";
    this.rejected = fields.rejected ?? false;
    this.retryAfterMs = fields.retryAfterMs ?? 0;
    this.leaderAddress = fields.leaderAddress ?? "";
    this.lastSequence = fields.lastSequence;
    this.undialled = fields.undialled ?? false;
    this.broken = fields.broken ?? false;
  }

  /** What the server said. A kind that only a newer server has is as much as doubt. */
  static of(detail: ErrorDetail): Failure {
    return new Failure(detail.message, {
      kind: (WireKind[detail.kind] as ErrorKind | undefined) ?? "UNSPECIFIED",
      rejected: detail.class === WriteClass.REJECTED,
      retryAfterMs: detail.retryAfterMs,
      leaderAddress: detail.leaderAddress,
      lastSequence: detail.lastSequence === undefined ? undefined : Number(detail.lastSequence),
    });
  }

  get worthAnotherTry(): boolean {
    return PASSING.has(this.kind);
  }

  asReadError(): ReadError | InvalidArgument {
    return this.kind === "INVALID" ? new InvalidArgument(this.message) : new ReadError(this.message, this);
  }

  asRefused(): Refused {
    return this.kind === "INVALID" ? new InvalidArgument(this.message) : new Refused(this.message, this);
  }

  asUnknown(): Unknown {
    return new Unknown(this.message, this);
  }
}

/** The session's stream cannot go on here: drop the connection and resume, as the server then says what it has. */
export class Broken extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

/** Another connection has the session now. */
export class Superseded extends Broken {}

/** The session is over. */
export class Over extends Broken {}

/** What an error that ends a stream means for the session. */
export function faultOf(failure: Failure): Broken {
  if (failure.kind === "SUPERSEDED") return new Superseded(failure);
  return failure.worthAnotherTry ? new Broken(failure) : new Over(failure);
}
