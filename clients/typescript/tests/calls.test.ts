// Calls with one answer over whatever nodes say and do: what is refused, what is in doubt, what is asked again.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, InvalidArgument, ReadError, Refused, Unknown } from "../src/index.js";
import { acksAll, type CallOutcome, detail, Fake, FAST, makes, rejected, VECTOR, withFake } from "./fake.js";

const snapshot = { node: 1n, incarnation: 1n, appliedIndex: 9n };
const gone: CallOutcome = { case: "forget", value: { forgotten: 2n, logIndex: 9n } };
const fails = (value: ReturnType<typeof detail>): CallOutcome => ({ case: "error", value });

test("a forget is sent again only after a refusal that passes, and raises the token", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const answers = [fails(detail("NOT_LEADER", "REJECTED")), fails(detail("OVERLOADED", "REJECTED")), gone];
    fake.call = () => answers.shift();
    assert.deepEqual(await space.forget({ rows: [1, 2] }), { rows: 2, logIndex: 9, floor: 0 });
    assert.deepEqual([answers.length, client.token.logIndex], [0, 9]);
  }));

test("a forget without a sure outcome is unknown, and is not sent again", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const doubts: ((connection: Parameters<Fake["call"]>[1]) => CallOutcome | undefined)[] = [
      () => fails(detail("IN_DOUBT", "UNKNOWN", "2 rows are forgotten, then: x; send it again")),
      (connection) => (connection.cut(), undefined),
      (connection) => (connection.end(detail("IN_DOUBT", "UNKNOWN")), undefined),
      (connection) => (connection.close(1001), undefined),
      // It says of rows that none is in, and nothing of the forget.
      (connection) => (connection.end(detail("INVALID", "REJECTED", "too large"), 1009), undefined),
      () => undefined,
    ];
    for (const doubt of doubts) {
      const before = fake.calls;
      fake.call = (_, connection) => doubt(connection);
      const { outcome } = await rejected(Unknown, space.forget({ rows: [1], deadlineMs: 300 }));
      assert.deepEqual([outcome, fake.calls], ["unknown", before + 1]);
    }
    // The connection that fell silent is not the last one.
    fake.call = () => gone;
    assert.equal((await space.forget({ rows: [1] })).rows, 2);
  }));

test("what is refused for good is told at once, and what was never sent is refused", async () => {
  await withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const before = fake.calls;
    fake.call = () => fails(detail("NOT_FOUND", "REJECTED", 'no space is called "fake"; create it first'));
    const { kind, outcome } = await rejected(Refused, space.forget({ ids: ["a"] }));
    assert.deepEqual([kind, outcome, fake.calls], ["NOT_FOUND", "refused", before + 1]);
    fake.call = () => fails(detail("INVALID", "REJECTED"));
    await rejected(InvalidArgument, space.forget({ where: {} }));
    await fake.stop();
    // Of the connection's end this one may hear only after it is sent.
    await space.forget({ ids: ["a"], deadlineMs: 100 }).catch(() => {});
    const none = await rejected(Refused, space.forget({ ids: ["a"], deadlineMs: 100 }));
    assert.deepEqual([none.kind, /no connection/.test(none.message)], ["NOT_LEADER", true]);
  });
});

test("an aborted forget is unknown once it is sent, and refused before", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const reason = new Error("enough");
    const aborting = new AbortController();
    fake.call = () => {
      aborting.abort(reason);
      return undefined;
    };
    const { signal } = aborting;
    assert.equal((await rejected(Unknown, space.forget({ rows: [1], signal }))).cause, reason);
    assert.equal((await rejected(Refused, space.forget({ rows: [1], signal }))).cause, reason);
    fake.call = () => gone;
    assert.equal((await space.forget({ rows: [1] })).rows, 2);
  }));

test("a read is asked again, elsewhere if need be, and its snapshot raises the token", async () => {
  const [silent, good] = [await Fake.start(), await Fake.start()];
  const client = connect([silent.address, good.address], { timing: { ...FAST, silenceMs: 150 } });
  try {
    const space = await client.space("fake", 2);
    silent.call = () => undefined;
    let turn = 0;
    good.call = () => {
      turn += 1;
      if (turn === 1) return fails(detail("BEHIND", "UNSPECIFIED"));
      return { case: "count", value: { count: 4n, snapshot } };
    };
    assert.equal((await space.count()).count, 4);
    assert.equal(client.token.logIndex, 9);
    good.call = () => ({ case: "get", value: { snapshot, rows: [{ row: 3n, observation: { text: "three" } }] } });
    for (let times = 0; times < 4; times += 1) {
      const [row] = await space.get({ rows: [3] });
      assert.deepEqual([row?.row, row?.text, row?.embedding], [3, "three", null]);
    }
    silent.call = good.call = () => fails(detail("NOT_FOUND", "REJECTED"));
    const { kind, outcome } = await rejected(ReadError, space.count());
    assert.deepEqual([kind, outcome], ["NOT_FOUND", "unanswered"]);
  } finally {
    await client.close();
    await Promise.all([silent.stop(), good.stop()]);
  }
});

test("a list asks for each page as of the first one's log index, once it is needed", () =>
  withFake(acksAll, async (client, fake) => {
    const space = await client.space("fake", 2);
    const asked: unknown[] = [];
    fake.call = (request, connection) => {
      if (request.case !== "list") return makes(request);
      const { fromRow, limit, atIndex, consistency } = request.value;
      asked.push([fromRow, limit, atIndex, consistency.case]);
      // The connection breaks between two pages: the next one is asked for anew.
      if (asked.length === 2) connection.cut();
      const rows = [{ row: fromRow }, { row: fromRow + 1n }];
      const nextRow = fromRow < 4n ? { nextRow: fromRow + 2n } : {};
      return { case: "list", value: { snapshot, rows, ...nextRow } };
    };
    const listing = await space.list({ limit: 9 });
    assert.equal(listing.snapshot.appliedIndex, 9);
    assert.equal(asked.length, 1);
    const rows: number[] = [];
    for await (const { row } of listing) rows.push(row);
    assert.deepEqual(rows, [0, 1, 2, 3, 4, 5]);
    assert.deepEqual(asked, [
      [0n, 9n, undefined, "atLeast"],
      [2n, 7n, 9n, undefined],
      [2n, 7n, 9n, undefined],
      [4n, 5n, 9n, undefined],
    ]);
    for await (const { row } of listing) if (row === 1) break;
    assert.equal(asked.length, 4);
  }));

test("a space that was made in doubt is asked for again, and is there", () =>
  withFake(acksAll, async (client, fake) => {
    const asked: (string | undefined)[] = [];
    fake.call = (request, connection) => {
      asked.push(request.case);
      if (asked.length === 1) return (connection.cut(), undefined);
      if (request.case === "createSpace") return fails(detail("EXISTS", "REJECTED"));
      const space = { id: 7n, config: { name: "fake", dim: 2 } };
      return { case: "listSpaces", value: { spaces: asked.length > 3 ? [space] : [] } };
    };
    assert.equal((await client.space("fake", 2)).info.id, 7);
    assert.deepEqual(asked, ["createSpace", "createSpace", "listSpaces", "listSpaces"]);
  }));

test("a server that knows no calls says so", () =>
  withFake(acksAll, async (client, fake) => {
    const old = detail("UNSUPPORTED", "REJECTED", "a message of a kind not known to this version; upgrade");
    fake.call = (_, connection) => (connection.end(old, 4012), undefined);
    assert.equal((await rejected(Refused, client.space("fake", 2))).kind, "UNSUPPORTED");
    assert.equal((await rejected(ReadError, client.status())).kind, "UNSUPPORTED");
  }));

test("a closed client calls nothing", () =>
  withFake(acksAll, async (client) => {
    const space = await client.space("fake", 2);
    await space.observe("row", VECTOR);
    await client.close();
    await rejected(InvalidArgument, space.forget({ rows: [1] }));
    await rejected(InvalidArgument, space.count());
    await rejected(InvalidArgument, client.status());
  }));
