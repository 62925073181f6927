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
  InvalidArgument,
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

test("a space is made if there is none, and must be what is asked for", async () => {
  const missing = await rejected(Refused, client.space("nowhere"));
  assert.equal(missing.kind, "NOT_FOUND");
  assert.match(missing.message, /knows no space called "nowhere"; create it: give its dim/);
  const wrong = await rejected(Refused, client.space("calls", 3));
  assert.deepEqual(
    [wrong.kind, wrong.message],
    ["EXISTS", 'space "calls" exists with dim 2, not 3; choose another name or drop it'],
  );
  assert.equal((await rejected(Refused, client.space("calls", 2, { metric: "dot" }))).kind, "EXISTS");
  await rejected(InvalidArgument, client.space("calls", 1));
  await rejected(InvalidArgument, client.space("made", 2, { ttlMs: 10 }));
  assert.equal(await client.space("calls", 2), await client.space("calls"), "one name and options, one stream");
  assert.notEqual(await client.space("calls", 2), await client.space("calls", 2, { options: { priority: "low" } }));

  const config = { metric: "l2", precision: "f32", ttlMs: 60_000, historyMs: 5000 } as const;
  const made = await client.space("made", 3, config);
  const { id, ...info } = made.info;
  assert.deepEqual(info, { name: "made", dim: 3, rows: 0, forgotten: 0, ...config });
  // At once at any node, and by another client.
  for (const endpoint of client.endpoints) {
    const there = await client.on(endpoint).space("made", 3, config);
    assert.equal(there.info.id, id);
  }
  assert.ok((await client.spaces()).some((space) => space.name === "made" && space.id === id));
  await client.dropSpace("made");
  assert.equal((await rejected(Refused, client.dropSpace("made"))).kind, "NOT_FOUND");
  assert.equal((await rejected(Refused, made.observe("late", [1, 2, 3]))).kind, "NOT_FOUND");
  const again = await client.space("made", 4);
  assert.ok(again.info.id > id);
  await again.observe("another space", [1, 2, 3, 4]);
  await client.dropSpace("made");
});

test("rows are got by number and by id, listed, counted and forgotten", async () => {
  const space = await client.space("rows", 2);
  const count = 700;
  const rows = Array.from({ length: count }, (_, at) => ({
    text: `row ${at}`,
    embedding: [at, 1],
    metadata: { even: at % 2 === 0 },
    id: at < 3 ? `id ${at}` : "",
  }));
  assert.equal((await space.observeMany(rows)).acked, count);
  const all = async (call: Parameters<typeof space.list>[0] = {}) => {
    const texts: string[] = [];
    for await (const { text } of await space.list(call)) texts.push(text);
    return texts;
  };
  assert.deepEqual(
    await all(),
    rows.map(({ text }) => text),
  );
  assert.deepEqual(await all({ fromRow: 690, limit: 5 }), ["row 690", "row 691", "row 692", "row 693", "row 694"]);
  assert.equal((await all({ limit: 300, where: { even: true } })).length, 300);
  for (const bad of [{ limit: -1 }, { atIndex: -1 }, { atIndex: 9, consistency: "eventual" }] as const) {
    await rejected(InvalidArgument, space.list(bad));
  }

  const got = await space.get({ rows: [5, 4, 1000], ids: ["id 1", "nobody"], withEmbedding: true });
  assert.deepEqual(
    [...got].map(({ text, embedding }) => [text, embedding?.[0]]),
    [
      ["row 5", 5],
      ["row 4", 4],
      ["row 1", 1],
    ],
  );
  assert.ok(got.snapshot.rows === count && got.rows[0]?.session !== 0n);
  await rejected(InvalidArgument, space.get({}));
  assert.equal((await space.count()).count, count);
  assert.equal((await space.count({ where: { even: true } })).count, count / 2);

  // A list is of one snapshot, whatever is forgotten while it is read.
  const before = await space.list();
  const byId = await space.forget({ ids: ["id 0", "nobody"] });
  assert.ok(byId.rows === 1 && byId.logIndex > before.snapshot.appliedIndex && byId.floor === 0);
  assert.equal((await space.forget({ rows: [0, 1] })).rows, 1);
  assert.equal((await space.forget({ where: { even: false } })).rows, count / 2 - 1);
  let seen = 0;
  for await (const row of before) assert.equal(row.row, seen++);
  assert.equal(seen, count);
  assert.equal((await all({ atIndex: before.snapshot.appliedIndex })).length, count);
  for (const endpoint of client.endpoints) {
    assert.equal((await (await client.on(endpoint).space("rows")).count()).count, count / 2 - 1);
  }
  const erased = await space.forget({ rows: [2], erase: true });
  assert.ok(erased.rows === 1 && erased.floor > 0);
  const gone = await rejected(ReadError, (async () => {
    for await (const _ of before);
  })());
  assert.equal(gone.kind, "BELOW_FLOOR");
  assert.equal((await space.forget({ olderThanMs: 0 })).rows, count / 2 - 2);
  assert.deepEqual(await all(), []);
  await rejected(InvalidArgument, space.forget({}));
  await rejected(InvalidArgument, space.forget({ rows: [1], ids: ["id 1"] }));
});

test("a node says how it is", async () => {
  const statuses = await Promise.all(client.endpoints.map((endpoint) => client.status(endpoint)));
  assert.deepEqual(
    statuses.map(({ node }) => node),
    [1, 2, 3],
  );
  assert.equal(statuses.filter(({ role }) => role === "leader").length, 1);
  const [first] = statuses;
  assert.equal(first?.notReadyReason, "");
  assert.deepEqual(
    first?.members.map(({ node, voter, clientAddress }) => [node, voter, clientAddress]),
    client.endpoints.map((endpoint, at) => [at + 1, true, endpoint]),
  );
  assert.ok(first !== undefined && first.applied > 0 && first.incarnation > 0n && first.leader !== null);
  assert.ok(first.spaces.some(({ name, metric, precision }) => name === "calls" && metric + precision === "l2f32"));
  assert.ok((await client.status()).node >= 1);
  await rejected(InvalidArgument, client.status("nowhere"));
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
