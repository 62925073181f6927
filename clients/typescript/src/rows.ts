// What `observeMany` takes: columns, or any iterable of observations; each row is converted as its turn comes.

import { InvalidArgument } from "./errors.js";
import { type Observation, observationToWire, type Time, type Value, type Vector } from "./values.js";

/** One row: an observation, or `[text, embedding]`. */
export type RowLike = Observation | readonly [text: string, embedding: Vector];
/** Rows in their order. */
export type Rows = Columns | Iterable<RowLike> | AsyncIterable<RowLike>;

/** What `columns` takes beside texts and embeddings. */
export interface ColumnOptions {
  /** One for all rows, or one for each. */
  readonly timeMs?: Time | readonly Time[];
  readonly metadata?: readonly Readonly<Record<string, Value>>[];
  readonly ids?: readonly string[];
}

/** Rows as columns; made by `columns`. `observeMany` checks them whole before it sends the first. */
export class Columns implements Iterable<Observation> {
  readonly #texts: readonly string[];
  readonly #embeddings: Vector | readonly Vector[];
  readonly #options: ColumnOptions;

  /** @internal */
  constructor(texts: readonly string[], embeddings: Vector | readonly Vector[], options: ColumnOptions) {
    this.#texts = texts;
    this.#embeddings = embeddings;
    this.#options = options;
  }

  /** How many rows. */
  get length(): number {
    return this.#texts.length;
  }

  *[Symbol.iterator](): Generator<Observation> {
    const { timeMs, metadata, ids } = this.#options;
    for (const [at, text] of this.#texts.entries()) {
      const time = isList(timeMs) ? timeMs[at] : timeMs;
      yield { text, embedding: this.#embedding(at), timeMs: time, metadata: metadata?.[at], id: ids?.[at] };
    }
  }

  #embedding(at: number): Vector {
    const all = this.#embeddings;
    if (!isFlat(all)) return all[at] ?? [];
    const dim = all.length / this.#texts.length;
    return Array.prototype.slice.call(all, at * dim, (at + 1) * dim) as number[];
  }
}

/** Rows as columns of one length. Embeddings are one array a row, or one of all rows' components, row after row.
 * Errors: `InvalidArgument`. */
export function columns(
  texts: readonly string[],
  embeddings: Vector | readonly Vector[],
  options: ColumnOptions = {},
): Columns {
  if (isFlat(embeddings) ? embeddings.length % texts.length !== 0 : embeddings.length !== texts.length) {
    throw new InvalidArgument(`${embeddings.length} embeddings for ${texts.length} texts; give one for each row`);
  }
  for (const [name, column] of Object.entries(options)) {
    if (isList(column) && column.length !== texts.length) {
      throw new InvalidArgument(`${name} has ${column.length} rows, texts ${texts.length}; give one for each row`);
    }
  }
  return new Columns(texts, embeddings, options);
}

function isFlat(embeddings: Vector | readonly Vector[]): embeddings is Vector {
  return typeof embeddings[0] === "number";
}

function isList(column: unknown): column is readonly unknown[] & readonly Time[] {
  return Array.isArray(column);
}

/** One row as it travels, whatever it comes as. Errors: `InvalidArgument`. */
export function rowToWire(row: RowLike, dim: number, what: string): Uint8Array {
  const observation = Array.isArray(row) ? { text: row[0], embedding: row[1] } : (row as Observation);
  return observationToWire(observation, dim, what);
}

/** The rows as one iterator. Errors: `InvalidArgument` for what is none, and for columns that have a wrong row. */
export function iterate(rows: Rows, dim: number): Iterator<RowLike> | AsyncIterator<RowLike> {
  if (rows instanceof Columns) {
    let at = 0;
    for (const row of rows) rowToWire(row, dim, `row ${at++}`);
  }
  if (typeof rows === "object" && rows !== null) {
    if (Symbol.asyncIterator in rows) return rows[Symbol.asyncIterator]();
    if (Symbol.iterator in rows) return rows[Symbol.iterator]();
  }
  throw new InvalidArgument(`rows are ${typeof rows}; give columns, or an iterable of observations`);
}
