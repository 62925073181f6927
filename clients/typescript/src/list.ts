// Lists: the rows of a space in log order, at one snapshot, page by page as they are taken.
//
// A page is asked for when the one before it was taken, as of the log index of the first: any node gives the same rows
// for it, so a list goes on when a node is lost, and nothing waits in memory but the page at hand.

import { readOf } from "./call.js";
import { type Consistency, stateToWire } from "./consistency.js";
import { InvalidArgument, ReadError } from "./errors.js";
import { Failure } from "./failure.js";
import { type Where, whereToWire } from "./filters.js";
import type { CallValue } from "./lane.js";
import type { Pool } from "./pool.js";
import { type Row, rowFromWire, type Snapshot, snapshotFromWire } from "./results.js";

/** What `list` takes. */
export interface ListCall {
  /** The first row wanted; rows are numbered by their place in the log. */
  readonly fromRow?: number;
  /** At most so many rows; 0: all. */
  readonly limit?: number;
  /** Only rows that it means. */
  readonly where?: Where;
  /** "session" unless another is given. */
  readonly consistency?: Consistency;
  /** The state as of a log index in place of a consistency: the same rows from every node at any time. */
  readonly atIndex?: number;
  readonly withEmbedding?: boolean;
  /** For each page, attempts included; that of `timing` unless another is given. */
  readonly deadlineMs?: number;
  /** Ends the list: what waits for the next row rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** @internal */
export interface ListPlan {
  readonly pool: Pool;
  readonly pin: string | undefined;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly request: CallValue<"list">;
}

interface Page {
  readonly rows: readonly Row[];
  readonly nextRow: bigint | undefined;
  readonly snapshot: Snapshot;
}

/** Rows in log order, of one snapshot. Iterates over them, from the first on each time. */
export class Listing implements AsyncIterable<Row> {
  readonly snapshot: Snapshot;
  readonly #plan: ListPlan;
  readonly #first: Page;

  private constructor(plan: ListPlan, first: Page) {
    this.snapshot = first.snapshot;
    this.#plan = plan;
    this.#first = first;
  }

  /** @internal Errors: `InvalidArgument`, `ReadError`; the signal's reason. */
  static async begin(plan: ListPlan): Promise<Listing> {
    return new Listing(plan, await ask(plan, plan.request));
  }

  /** Errors: `ReadError`, with the kind BELOW_FLOOR when rows of the snapshot were erased meanwhile; the signal's
   * reason. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Row, undefined> {
    const { request } = this.#plan;
    const limit = request.limit ?? 0n;
    let page = this.#first;
    let taken = 0n;
    for (;;) {
      yield* page.rows;
      taken += BigInt(page.rows.length);
      if (page.nextRow === undefined) return;
      page = await ask(this.#plan, {
        ...request,
        consistency: { case: undefined },
        fromRow: page.nextRow,
        limit: limit === 0n ? 0n : limit - taken,
        atIndex: BigInt(this.snapshot.appliedIndex),
      });
      if (page.snapshot.incarnation !== this.snapshot.incarnation) {
        throw new ReadError("the cluster was restored between two pages; list again");
      }
    }
  }
}

async function ask({ pool, pin, deadlineMs, signal }: ListPlan, request: CallValue<"list">): Promise<Page> {
  try {
    const { snapshot, rows, nextRow } = await readOf(pool, pin, deadlineMs, signal, "list", request);
    if (snapshot === undefined) throw new Failure("the page has no snapshot", { broken: true });
    return { snapshot: snapshotFromWire(snapshot), rows: rows.map(rowFromWire), nextRow };
  } catch (error) {
    throw error instanceof Failure ? error.asReadError() : error;
  }
}

/** Errors: `InvalidArgument`. */
export function listToWire(space: string, call: ListCall, pool: Pool): CallValue<"list"> {
  const { fromRow = 0, limit = 0, where, consistency, atIndex, withEmbedding = false } = call;
  for (const [what, number] of Object.entries({ fromRow, limit })) {
    if (Number.isSafeInteger(number) && number >= 0) continue;
    throw new InvalidArgument(`${what} is ${number}; give a whole number`);
  }
  return {
    space,
    fromRow: BigInt(fromRow),
    limit: BigInt(limit),
    withEmbedding,
    ...stateToWire(consistency, atIndex, pool.token),
    ...(where === undefined ? {} : { filter: whereToWire(where) }),
  };
}
