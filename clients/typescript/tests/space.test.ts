// Every call of the surface, against three real nodes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  atLeast,
  bounded,
  type Client,
  columns,
  connect,
  field,
  type Hit,
  ReadError,
  Refused,
  timeRange,
} from "../src/index.js";
import { Cluster } from "./cluster.js";
import { rejected } from "./fake.js";

let cluster: Cluster;
let client: Client;

before(async () => {
  cluster = await Cluster.start(3);
  client = connect(cluster.endpoints);
  await Promise.all([
    cluster.createSpace("calls", 2, "--metric", "l2", "--precision", "f32"),
    cluster.createSpace("conditions", 2),
    cluster.createSpace("stages", 2),
    cluster.createSpace("watched", 2),
    cluster.createSpace("refusals", 2),
  ]);
});
after(async () => {
  await client?.close();
  await cluster?.stop();
});

const texts = (hits: Iterable<Hit>) => [...hits].map(({ text }) => text);

test("a space must be there, and have the dimensions that are said", async () => {
  const missing = await rejected(Refused, client.space("nowhere", 2));
  assert.deepEqual([missing.kind, missing.message], ["NOT_FOUND", 'no space is called "nowhere"; create it first']);
  assert.equal((await rejected(Refused, client.space("calls", 3))).kind, "EXISTS");
  assert.equal(await client.space("calls", 2), await client.space("calls", 2), "one name and options, one stream");
  assert.notEqual(await client.space("calls", 2), await client.space("calls", 2, { options: { priority: "low" } }));
});

test("what is observed is recalled whole, from every node", async () => {
  const space = await client.space("calls", 2);
  const metadata = { place: "kitchen", year: 2026, warm: true, weight: 1.5, large: 2n ** 60n };
  const timeMs = new Date("2026-01-02T03:04:05Z");
  const ack = await space.observe("the kettle is on", [0.5, 2], { timeMs, metadata, id: "kettle" });
  assert.ok(ack.sequence === 1 && ack.logIndex > 0 && !ack.repeat);
  for (const endpoint of client.endpoints) {
    const answer = await (await client.on(endpoint).space("calls", 2)).recall([0.5, 2], 1, { withEmbedding: true });
    const [hit] = answer.hits;
    const { score: _, ...kept } = hit ?? assert.fail("nothing found");
    const embedding = Float32Array.of(0.5, 2);
    const { logIndex } = ack;
    assert.deepEqual(kept, {
      row: 0,
      logIndex,
      text: "the kettle is on",
      timeMs: timeMs.getTime(),
      metadata,
      id: "kettle",
      embedding,
    });
    assert.ok(answer.snapshot.appliedIndex >= ack.logIndex);
  }
});

test("columns go in as rows, an id replaces, and the past stays", async () => {
  const space = await client.space("calls", 2);
  const embeddings = Float32Array.of(10, 0, 10, 1, 10, 2);
  const { acked, token } = await space.observeMany(
    columns(["one", "two", "three"], embeddings, { ids: ["a", "b", "c"] }),
  );
  assert.equal(acked, 3);
  const before = token.logIndex;
  await space.observe("another one", [10, 0], { id: "a" });
  assert.deepEqual(texts(await space.recall([10, 0], 2)), ["another one", "two"]);
  for (const endpoint of client.endpoints) {
    const pinned = await client.on(endpoint).space("calls", 2);
    assert.deepEqual(texts(await pinned.recall([10, 0], 2, { atIndex: before })), ["one", "two"]);
  }
  const gone = await rejected(ReadError, space.recall([10, 0], 2, { atIndex: 1 }));
  assert.equal(gone.kind, "BELOW_FLOOR");
  assert.deepEqual(texts(await space.recall([10, 0], 9, { scoreMin: -0.5 })), ["another one"]);
});

test("conditions choose rows", async () => {
  const space = await client.space("conditions", 2);
  const row = (text: string, metadata: Record<string, string | number>, timeMs: number) => ({
    text,
    embedding: [1, timeMs],
    timeMs,
    metadata,
  });
  await space.observeMany([
    row("cod", { topic: "fish", year: 1990 }, 1),
    row("owl", { topic: "bird", year: 2000.5 }, 2),
    row("oak", {}, 3),
  ]);
  const found = async (where: Parameters<typeof space.recall>[2]) =>
    texts(await space.recall([1, 0], 10, where)).sort();
  assert.deepEqual(await found({ where: { topic: "fish" } }), ["cod"]);
  assert.deepEqual(await found({ where: { topic: ["fish", "bird"] } }), ["cod", "owl"]);
  assert.deepEqual(await found({ where: field("year").range({ greaterThan: 1990 }) }), ["owl"]);
  assert.deepEqual(await found({ where: field("topic").exists().not() }), ["oak"]);
  assert.deepEqual(await found({ where: timeRange({ from: 2 }).and(field("topic").oneOf("bird")) }), ["owl"]);
  assert.deepEqual(await found({ where: timeRange({ until: 2 }).or(timeRange({ from: new Date(3) })) }), [
    "cod",
    "oak",
  ]);
});

test("every level of consistency is answered, and a token carries from client to client", async () => {
  const space = await client.space("conditions", 2);
  const { logIndex } = await space.observe("seen", [5, 0], { id: "seen" });
  const other = connect(cluster.endpoints, { seed: 1 });
  try {
    const theirs = await other.space("conditions", 2);
    other.adopt(client.token);
    for (const consistency of ["session", "linearizable", "eventual", bounded(0), atLeast(client.token)] as const) {
      const answer = await theirs.recall([5, 0], 1, { consistency });
      if (consistency !== "eventual") assert.ok(answer.snapshot.appliedIndex >= logIndex);
    }
    const future = atLeast({ ...client.token, logIndex: logIndex + 1_000_000 });
    await rejected(ReadError, theirs.recall([5, 0], 1, { consistency: future, deadlineMs: 300 }));
  } finally {
    await other.close();
  }
});

test("rows are acked at each stage, and are then what the stage says", async () => {
  for (const [at, stage] of (["received", "committed", "searchable"] as const).entries()) {
    const searchableNodes = stage === "searchable" ? 3 : 0;
    const space = await client.space("stages", 2, { options: { stage, searchableNodes, priority: "high" } });
    const rows = Array.from({ length: 20 }, (_, row) => ({
      text: `${row}`,
      embedding: [at, row + 1],
      metadata: { stage },
    }));
    assert.equal((await space.observeMany(rows)).acked, 20);
    if (stage !== "searchable") continue;
    for (const endpoint of client.endpoints) {
      const pinned = await client.on(endpoint).space("stages", 2);
      const answer = await pinned.recall([at, 20], 40, { consistency: "eventual", where: { stage } });
      assert.equal(answer.hits.length, 20);
    }
  }
  const options = { stage: "searchable", searchableNodes: 9 } as const;
  const many = await rejected(Refused, (await client.space("stages", 2, { options })).observe("row", [1, 1]));
  assert.equal(many.kind, "INVALID");
});

test("a row that the node alone can judge is refused, and those around it are in", async () => {
  const space = await client.space("refusals", 2);
  const rows = [
    ["one", [1, 0]],
    ["no direction", [0, 0]],
    ["two", [0, 1]],
    ["too large", [70_000, 1]],
    ["three", [1, 1]],
  ] as const;
  const { summary, kind } = await rejected(Refused, space.observeMany(rows));
  assert.equal(kind, "INVALID");
  assert.deepEqual([summary?.acked, summary?.refused.map(({ index }) => index)], [3, [1, 3]]);
  assert.deepEqual(texts(await space.recall([1, 0], 9)).sort(), ["one", "three", "two"]);
});

test("a watch gives rows and forgets as they are committed, each once", async () => {
  const space = await client.space("watched", 2);
  await space.observe("before", [1, 0]);
  const [all, fresh] = [
    await space.watch({ afterLogIndex: 0, withEmbedding: true }),
    await space.watch({ where: { kept: true } }),
  ];
  await space.observeMany(
    Array.from({ length: 1000 }, (_, at) => ({
      text: `row ${at}`,
      embedding: [1, at],
      metadata: { kept: at % 2 === 0 },
    })),
  );
  await cluster.run("forget", "--space", "watched", "1");
  const [seen, forgotten] = [[] as string[], [] as number[]];
  for await (const change of all) {
    seen.push(...change.rows.map(({ text }) => text));
    forgotten.push(...change.forgotten);
    assert.ok(change.rows.every(({ embedding }) => embedding?.length === 2));
    if (forgotten.length > 0) break;
  }
  // A row that is forgotten before it could be sent is left out.
  const expected = ["before", ...Array.from({ length: 1000 }, (_, at) => `row ${at}`)];
  assert.deepEqual(
    seen.filter((text) => text !== "row 0"),
    expected.filter((text) => text !== "row 0"),
  );
  assert.deepEqual(forgotten, [1]);
  let kept = 0;
  for await (const { rows } of fresh) {
    kept += rows.length;
    if (rows.some(({ text }) => text === "row 998")) break;
  }
  assert.ok(kept >= 499 && kept <= 500, `${kept} of 500`);
});

test("a watch of a space that is dropped ends with NOT_FOUND", async () => {
  await cluster.createSpace("dropped", 2);
  const watcher = await (await client.space("dropped", 2)).watch();
  await cluster.run("space", "drop", "dropped", "--yes");
  const following = async () => {
    for await (const _ of watcher);
  };
  assert.equal((await rejected(ReadError, following())).kind, "NOT_FOUND");
});
