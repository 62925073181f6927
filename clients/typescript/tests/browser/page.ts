// What a page does with the client, in a real browser; each check is told to the server of this page.

import { connect, ReadError, Refused } from "../../src/index.js";
import { DIM, interruptedLoad, row } from "../load.js";

interface Config {
  readonly endpoints: readonly string[];
  readonly count: number;
}

const post = (to: string, body: unknown = null) => fetch(to, { method: "POST", body: JSON.stringify(body) });
const config = (await (await fetch("/config")).json()) as Config;

function expect(so: boolean, text: string): void {
  if (!so) throw new Error(text);
}

async function calls(): Promise<string> {
  const client = connect(config.endpoints);
  const space = await client.space("calls", DIM);
  const watcher = await space.watch();
  const { text, embedding, timeMs } = row(1);
  const ack = await space.observe(text, embedding, { timeMs, metadata: { where: "page" } });
  const answer = await space.recall(embedding, 1, { where: { where: "page" }, withEmbedding: true });
  expect(answer.hits[0]?.logIndex === ack.logIndex && answer.hits[0].embedding?.length === DIM, "not recalled");
  for await (const { rows } of watcher) {
    if (rows.length === 0) continue;
    expect(rows[0]?.text === text, `${rows[0]?.text} was watched`);
    break;
  }
  const made = await client.space("made", DIM);
  await made.observe(text, embedding, { id: "only" });
  expect((await made.count()).count === 1 && (await client.status()).members.length === 3, "not counted");
  for await (const { id } of await made.list()) expect(id === "only", `${id} was listed`);
  expect((await made.forget({ ids: ["only"] })).rows === 1, "not forgotten");
  await client.dropSpace("made");
  const missing = await client.space("nowhere").catch((error: unknown) => error);
  expect(missing instanceof Refused && missing.kind === "NOT_FOUND", String(missing));
  const bad = await space.recall(embedding, 1, { atIndex: 1 }).catch((error: unknown) => error);
  expect(bad instanceof ReadError && bad.kind === "BELOW_FLOOR", String(bad));
  const reason = await space
    .recall(embedding, 1, { signal: AbortSignal.abort("enough") })
    .catch((error: unknown) => error);
  expect(reason === "enough", String(reason));
  await client.close();
  return "each call, its errors and signals";
}

async function load(): Promise<string> {
  const { endpoints, count } = config;
  const client = connect(endpoints);
  await post("/cut");
  const interrupt = async () => void (await post("/kill"));
  const { acked, resumes, wrong } = await interruptedLoad(client, "load", { count, at: count / 2, interrupt });
  expect(acked === count && wrong === null, `${acked} acked: ${wrong}`);
  expect(resumes >= 2, `${resumes} resumes`);
  await client.close();
  return `${count} rows, each once and in order`;
}

try {
  await post("/report", { ok: await calls() });
  await post("/report", { ok: await load() });
  await post("/report", { done: true });
} catch (error) {
  await post("/report", { failed: error instanceof Error ? error.stack : String(error) });
}
