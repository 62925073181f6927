// Recalls and watches over whatever nodes say and do: fake nodes, as real ones do it too seldom.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { RecallRequest } from "../src/gen/engram/v1/memory_pb.js";
import { type Change, connect, InvalidArgument, ReadError } from "../src/index.js";
import { acksAll, type Connection, detail, Fake, FAST, noHits, rejected, VECTOR, withFake } from "./fake.js";

const hit = (row: number) => ({ row: BigInt(row), text: `row ${row}`, score: 1 });
const page = (first: number, count: number, logIndex = 0) => ({
  rows: Array.from({ length: count }, (_, at) => ({ row: BigInt(first + at), logIndex: BigInt(first + at) })),
  logIndex: BigInt(logIndex),
});

/** Row numbers as they come, until there are so many. */
async function numbers(changes: AsyncIterable<Change>, count: number): Promise<number[]> {
  const all: number[] = [];
  for await (const { rows } of changes) {
    all.push(...rows.map(({ row }) => row));
    if (all.length >= count) return all;
  }
  return all;
}

test("an answer in pages is put together, and its snapshot raises the token", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    fake.recall = ({ requestId, withEmbedding, scoreMin }, connection) => {
      assert.deepEqual([withEmbedding, scoreMin], [true, 0.5]);
      const snapshot = { node: 2n, incarnation: 1n, appliedIndex: 7n };
      const value = { snapshot, hits: [hit(1), hit(2)], last: false };
      connection.say({ case: "recall", value: { requestId, outcome: { case: "result", value } } });
      return { case: "result", value: { snapshot, hits: [hit(3)], last: true } };
    };
    const answer = await space.recall(VECTOR, 3, { withEmbedding: true, scoreMin: 0.5 });
    assert.deepEqual(
      [...answer].map(({ text }) => text),
      ["row 1", "row 2", "row 3"],
    );
    assert.deepEqual([answer.snapshot.node, client.token], [2, { logIndex: 7, incarnation: 1n }]);
  }));

test("a read tries again until its deadline, and tells the last error that a node gave", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const before = fake.recalls;
    const behind = detail("BEHIND", "UNSPECIFIED", "applied is 3; wait or ask another node");
    fake.recall = () => ({ case: "error", value: behind });
    const { kind, message, outcome } = await rejected(ReadError, space.recall(VECTOR, 1, { deadlineMs: 1000 }));
    assert.deepEqual([kind, message, outcome], ["BEHIND", "applied is 3; wait or ask another node", "unanswered"]);
    assert.ok(fake.recalls > before + 1);
  }));

test("what will not get better is told at once", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const before = fake.recalls;
    fake.recall = () => ({ case: "error", value: detail("BELOW_FLOOR", "UNSPECIFIED") });
    assert.equal((await rejected(ReadError, space.recall(VECTOR, 1, { atIndex: 1 }))).kind, "BELOW_FLOOR");
    assert.equal(fake.recalls, before + 1);
    for (const call of [{ atIndex: 1, consistency: "eventual" }, { scoreMin: Number.NaN }, { ef: -1 }] as const) {
      await rejected(InvalidArgument, space.recall(VECTOR, 1, call));
    }
    await rejected(InvalidArgument, space.recall(VECTOR, 0));
    await rejected(InvalidArgument, space.recall([1], 1));
    assert.equal(fake.recalls, before + 1);
  }));

test("recalls that wait do not hold back others, and all share a few connections", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const before = fake.connections;
    const held: RecallRequest[] = [];
    let releases: (() => void)[] = [];
    fake.recall = (request, connection) => {
      if (request.k !== 1) return noHits();
      held.push(request);
      const value = { requestId: request.requestId, outcome: noHits() };
      releases.push(() => connection.say({ case: "recall", value }));
      return undefined;
    };
    const waiting = Array.from({ length: 3 }, () => space.recall(VECTOR, 1));
    await space.recall(VECTOR, 2);
    const more = Array.from({ length: 20 }, () => space.recall(VECTOR, 1));
    while (held.length < 23) await new Promise((resolve) => setTimeout(resolve, 1));
    for (const release of releases) release();
    await Promise.all([...waiting, ...more]);
    const connections = fake.connections - before;
    assert.ok(connections <= 4, `${connections} connections`);
  }));

test("a recall that is aborted rejects with the signal's reason, and its connection goes on", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const aborting = new AbortController();
    const reason = new Error("enough");
    fake.recall = () => {
      aborting.abort(reason);
      return undefined;
    };
    assert.equal(await rejected(Error, space.recall(VECTOR, 1, { signal: aborting.signal })), reason);
    fake.recall = () => noHits(5);
    assert.equal((await space.recall(VECTOR, 1)).snapshot.appliedIndex, 5);
    assert.equal(await rejected(Error, space.recall(VECTOR, 1, { signal: aborting.signal })), reason);
  }));

test("a silent node is left for another one", async () => {
  const [silent, good] = [await Fake.start(), await Fake.start()];
  silent.recall = () => undefined;
  const client = connect([silent.address, good.address], { timing: { ...FAST, silenceMs: 150 } });
  try {
    const space = await client.space("fake", 2);
    for (let turn = 0; turn < 4; turn += 1) await space.recall(VECTOR, 1);
    assert.ok(silent.recalls > 0 && good.recalls > 0);
  } finally {
    await client.close();
    await Promise.all([silent.stop(), good.stop()]);
  }
});

test("a session goes to the leader that an answer names, and a pinned client does not", async () => {
  const [follower, leader] = [await Fake.start(), await Fake.start()];
  const hint = detail("NOT_LEADER", "REJECTED", "ask the leader", { leaderAddress: leader.address });
  follower.observe = (connection) => connection.end(hint, 4009);
  const client = connect(follower.address, { timing: FAST });
  try {
    assert.equal((await (await client.space("fake", 2)).observe("row", VECTOR)).sequence, 1);
    const pinned = await client.on(follower.address).space("fake", 2);
    await rejected(Error, pinned.observe("row", VECTOR, { deadlineMs: 100 }));
    assert.equal(leader.connections, 1);
  } finally {
    await client.close();
    await Promise.all([follower.stop(), leader.stop()]);
  }
});

test("a client of URLs goes where they lead and nowhere else", () =>
  withFake(
    (connection) =>
      connection.end(detail("NOT_LEADER", "REJECTED", "elsewhere", { leaderAddress: "127.0.0.1:9" }), 4009),
    async (_, fake) => {
      const client = connect(`ws://${fake.address}/`, { timing: FAST });
      const space = await client.space("fake", 2);
      const before = fake.connections;
      await rejected(Error, space.observe("row", VECTOR, { deadlineMs: 1000 }));
      assert.ok(fake.connections > before + 1, "every attempt came here");
      await client.close();
    },
  ));

test("a watch that loses its node goes on where it was, each row once", async () => {
  const asked: (bigint | undefined)[] = [];
  await withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    fake.watch = ({ afterLogIndex }, connection) => {
      asked.push(afterLogIndex);
      const turn = asked.length;
      if (turn === 1) {
        connection.page({ logIndex: 10n });
        connection.page(page(11, 2, 12));
        // Half of a view: it comes again.
        connection.page(page(13, 2));
        connection.cut();
      } else if (turn === 2) connection.end(detail("IN_DOUBT", "UNKNOWN", "node 1 is stopping"), 1001);
      else {
        connection.page(page(13, 4, 16));
        connection.say({
          case: "watch",
          value: { watchId: 1n, outcome: { case: "error", value: detail("NOT_FOUND", "UNSPECIFIED") } },
        });
      }
    };
    const watcher = await space.watch();
    assert.deepEqual(
      await numbers({ [Symbol.asyncIterator]: () => ({ next: () => watcher.next() }) }, 6),
      [11, 12, 13, 14, 15, 16],
    );
    assert.equal((await rejected(ReadError, watcher.next())).kind, "NOT_FOUND");
    assert.deepEqual(asked, [undefined, 12n, 12n]);
    assert.deepEqual(await watcher.next(), { done: true, value: undefined });
  });
});

test("a consumer who is slow holds no more than a bound, and misses nothing", async () => {
  const PAGES = 60;
  const ROWS = 10;
  let sent = 0;
  let leave = () => {};
  const left = new Promise<void>((resolve) => (leave = resolve));
  const asked: (bigint | undefined)[] = [];
  await withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const text = "x".repeat(60_000);
    fake.watch = async ({ afterLogIndex }, connection: Connection) => {
      asked.push(afterLogIndex);
      // One view of 36 MB in many pages, only the last of which has a log index.
      for (let at = 0; at < PAGES && !connection.over; at += 1) {
        const { rows } = page(at * ROWS, ROWS);
        const observation = { text };
        connection.page({ rows: rows.map((row) => ({ ...row, observation })), logIndex: at === PAGES - 1 ? 99n : 0n });
        sent += 1;
        await new Promise((resolve) => setImmediate(resolve));
      }
      leave();
    };
    const watcher = await space.watch({ afterLogIndex: 0 });
    // Nobody takes the pages: the client leaves in the middle of them.
    await left;
    assert.ok(sent < PAGES, "all came");
    assert.deepEqual(
      await numbers(watcher, PAGES * ROWS),
      Array.from({ length: PAGES * ROWS }, (_, at) => at),
    );
    assert.ok(asked.length > 1 && asked.every((after) => after === 0n));
  });
});

test("a watch ends by close, by leaving the loop, by its signal, and with the client", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    let over = 0;
    fake.watch = (_, connection) => {
      connection.page({ logIndex: 1n });
      const look = setInterval(() => {
        if (!connection.over) return;
        over += 1;
        clearInterval(look);
      }, 1);
    };
    for await (const { logIndex } of await space.watch()) if (logIndex === 1) break;
    const aborting = new AbortController();
    const aborted = await space.watch({ signal: aborting.signal });
    await aborted.next();
    const waiting = rejected(Error, aborted.next());
    aborting.abort(new Error("enough"));
    assert.equal((await waiting).message, "enough");
    const open = await space.watch();
    await open.next();
    const ended = open.next();
    await client.close();
    assert.deepEqual(await ended, { done: true, value: undefined });
    while (over < 3) await new Promise((resolve) => setTimeout(resolve, 1));
    await rejected(InvalidArgument, space.watch());
  }));
