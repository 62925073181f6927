// A load whose rows tell themselves: row n is `row n`. In Node.js and in the browser.

import type { Client, Observation, ReadToken, Row, Space } from "../src/index.js";

export const DIM = 8;
/** Small batches and a small window: what is lost is lost in the middle. */
export const OPTIONS = { batchRows: 50, windowRows: 400 };

export function row(number: number): Observation {
  const embedding = Float32Array.from({ length: DIM }, (_, at) => Math.cos(number / 1000 + at));
  return { text: `row ${number}`, embedding, timeMs: number };
}

/** Rows 0 to `count - 1`; before row `at`, `interrupt` has done what it does. */
export async function* rows(count: number, at = -1, interrupt = async () => {}): AsyncGenerator<Observation> {
  for (let number = 0; number < count; number += 1) {
    if (number === at) await interrupt();
    yield row(number);
  }
}

/** Every row of the space up to a token, as a watch gives them. */
export async function allRows(space: Space, token: ReadToken): Promise<Row[]> {
  const all: Row[] = [];
  for await (const { rows, logIndex } of await space.watch({ afterLogIndex: 0 })) {
    all.push(...rows);
    if (logIndex >= token.logIndex) break;
  }
  return all;
}

/** Streams `count` rows, of which the leader dies before row `at`; what is wrong with what is there then, if
 * anything. */
export async function interruptedLoad(
  client: Client,
  name: string,
  { count, at, interrupt }: { count: number; at: number; interrupt: () => Promise<void> },
): Promise<{ acked: number; resumes: number; wrong: string | null }> {
  const space = await client.space(name, DIM, { options: OPTIONS });
  const { acked, resumes, token } = await space.observeMany(rows(count, at, interrupt));
  return { acked, resumes, wrong: wrongAmong(await allRows(space, token), count) };
}

/** Each once, in order, of one session. */
export function wrongAmong(all: readonly Row[], count: number): string | null {
  if (all.length !== count) return `${all.length} rows where ${count} were sent`;
  for (const [at, { text, sequence, session, timeMs }] of all.entries()) {
    if (text !== `row ${at}` || timeMs !== at) return `${text} where row ${at} was sent`;
    if (sequence !== at + 1 || session !== all[0]?.session) return `row ${at} is number ${sequence} of ${session}`;
  }
  return null;
}
