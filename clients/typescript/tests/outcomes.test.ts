// Refused and unknown are told apart; credit, refusals, deadlines and signals are obeyed. A fake node says what a
// real one would.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FlowKind } from "../src/gen/engram/v1/memory_pb.js";
import { type Client, InvalidArgument, Refused, Unknown } from "../src/index.js";
import {
  ack,
  ackOf,
  acksAll,
  type Connection,
  detail,
  FAST,
  opened,
  refused,
  rejected,
  rows,
  VECTOR,
  withFake,
} from "./fake.js";

/** A stream that makes no progress gives up at once. */
const IMPATIENT = { timing: { ...FAST, giveUpMs: 0 } };

/** Opens, and acks what it is told to ack; `heard` resolves at the first batch that it does not. */
function mute(acks: (text: string) => boolean = () => false) {
  let hear = () => {};
  const heard = new Promise<void>((resolve) => (hear = resolve));
  const observe = async (connection: Connection) => {
    await connection.next();
    connection.answer(opened());
    for (let batch = await connection.batch(); batch !== undefined; batch = await connection.batch()) {
      if (batch.observations.every(({ text }) => acks(text))) connection.answer(ackOf(batch));
      else hear();
    }
  };
  return { observe, heard };
}

test("rows are acked in order and raise the token", () =>
  withFake(acksAll, async (client) => {
    const space = await client.space("fake", 2);
    const acked: number[] = [];
    const summary = await space.observeMany(rows(1200), { progress: (count) => acked.push(count) });
    assert.deepEqual([summary.rows, summary.acked, summary.refused, summary.resumes], [1200, 1200, [], 0]);
    assert.deepEqual([acked.at(-1), summary.token], [1200, { logIndex: 100, incarnation: 1n }]);
    assert.deepEqual(await space.observe("one", VECTOR), { sequence: 1201, logIndex: 100, repeat: false });
    assert.equal(client.token.logIndex, 100);
  }));

test("what progress throws ends its load and nothing else", () =>
  withFake(acksAll, async (client) => {
    const space = await client.space("fake", 2);
    const own = new Error("the caller's own");
    const progress = () => {
      throw own;
    };
    assert.equal(await rejected(Error, space.observeMany(rows(1000), { progress })), own);
    assert.equal((await space.observe("next", VECTOR)).repeat, false);
  }));

test("concurrent observations share batches", async () => {
  const batches: number[] = [];
  const counts = async (connection: Connection) => {
    await connection.next();
    connection.answer(opened());
    for (let batch = await connection.batch(); batch !== undefined; batch = await connection.batch()) {
      batches.push(batch.observations.length);
      connection.answer(ackOf(batch));
    }
  };
  await withFake(counts, async (client) => {
    const space = await client.space("fake", 2);
    const acks = await Promise.all(rows(300).map(({ text, embedding }) => space.observe(text, embedding)));
    assert.deepEqual(
      acks.map(({ sequence }) => sequence),
      Array.from({ length: 300 }, (_, at) => at + 1),
    );
    assert.ok(batches.length < 30, `${batches.length} batches`);
  });
});

test("acks that are lost with their connection come by the resume, and no row takes two numbers", async () => {
  let log: string[] = [];
  let turns = 0;
  const losing = async (connection: Connection) => {
    const first = await connection.next();
    assert.equal(first?.case, turns === 0 ? "open" : "resume");
    turns += 1;
    connection.answer(opened({ lastSequence: log.length }));
    for (let batch = await connection.batch(); batch !== undefined; batch = await connection.batch()) {
      const start = Number(batch.firstSequence) - 1;
      assert.ok(start <= log.length, "a gap");
      for (const [at, { text }] of batch.observations.entries()) log[start + at] ??= text;
      // Committed, but the answer never comes.
      if (turns <= 3) return connection.cut();
      connection.answer(ackOf(batch));
    }
  };
  await withFake(losing, async (client) => {
    const space = await client.space("fake", 2, { options: { batchRows: 10 } });
    const summary = await space.observeMany(rows(100));
    assert.deepEqual([summary.acked, summary.resumes], [100, 3]);
    assert.deepEqual(
      log,
      rows(100).map(({ text }) => text),
    );
  });
});

test("a refused row is told and the others are in", async () => {
  const picky = async (connection: Connection) => {
    let expected = 1;
    await connection.next();
    connection.answer(opened());
    for (let batch = await connection.batch(); batch !== undefined; batch = await connection.batch()) {
      for (const [at, { text }] of batch.observations.entries()) {
        const sequence = Number(batch.firstSequence) + at;
        if (sequence !== expected) break;
        if (["row 3", "row 5"].includes(text)) {
          connection.answer(refused(sequence, detail("INVALID", "REJECTED", `${text} is bad`)));
          break;
        }
        connection.answer(ack(sequence, sequence));
        expected += 1;
      }
    }
  };
  await withFake(picky, async (client) => {
    const space = await client.space("fake", 2);
    const { message, summary } = await rejected(Refused, space.observeMany(rows(8)));
    assert.equal(message, "2 of 8 rows were refused, first row 3: row 3 is bad");
    const told = summary?.refused.map(({ index, error }) => [index, error.message]);
    assert.deepEqual(told, [
      [3, "row 3 is bad"],
      [5, "row 5 is bad"],
    ]);
    assert.deepEqual([summary?.rows, summary?.acked, summary?.unknown, summary?.unsent], [8, 6, [], []]);
    assert.equal((await rejected(InvalidArgument, space.observe("row 3", VECTOR))).message, "row 3 is bad");
  });
});

test("a wrong row in the middle of an iterable: those before it are in", () =>
  withFake(acksAll, async (client) => {
    const space = await client.space("fake", 2);
    let returned = false;
    async function* source() {
      try {
        yield* rows(3);
        yield ["no dimensions", []] as const;
        yield* rows(3);
      } finally {
        returned = true;
      }
    }
    const { summary } = await rejected(InvalidArgument, space.observeMany(source()));
    assert.deepEqual([summary?.rows, summary?.acked, returned], [3, 3, true]);
    const own = new Error("the source's own");
    const throwing = (function* () {
      yield* rows(2);
      throw own;
    })();
    assert.equal(await rejected(Error, space.observeMany(throwing)), own);
    assert.equal((await space.observe("next", VECTOR)).sequence, 6);
  }));

test("an overloaded node gets the row again", async () => {
  const seen: number[] = [];
  const full = async (connection: Connection) => {
    await connection.next();
    connection.answer(opened());
    for (let batch = await connection.batch(); batch !== undefined; batch = await connection.batch()) {
      const first = Number(batch.firstSequence);
      const overloaded = detail("OVERLOADED", "REJECTED", "full", { retryAfterMs: 20 });
      connection.answer(seen.push(first) === 1 ? refused(first, overloaded) : ackOf(batch));
    }
  };
  await withFake(full, async (client) => {
    const space = await client.space("fake", 2);
    assert.equal((await space.observeMany(rows(3))).acked, 3);
    assert.deepEqual(seen.slice(0, 2), [1, 1]);
  });
});

test("a stream stays within the credit, and takes no more rows than its window and one", async () => {
  let received = 0;
  let taken = 0;
  let filled = () => {};
  const full = new Promise<void>((resolve) => (filled = resolve));
  const stingy = async (connection: Connection) => {
    await connection.next();
    connection.answer(opened({ creditRows: 10 }));
    for (let batch = await connection.batch(); batch !== undefined; batch = await connection.batch()) {
      received += batch.observations.length;
      // Credit is a limit: 15 in flight are 5 more.
      if (received === 10) {
        const value = { kind: FlowKind.CREDIT, creditRows: 15, creditBytes: 1n << 20n };
        connection.answer({ case: "flow", value });
      } else if (received === 15) filled();
    }
  };
  function* endless() {
    for (;;) {
      taken += 1;
      yield { text: "row", embedding: VECTOR };
    }
  }
  await withFake(stingy, async (client) => {
    const space = await client.space("fake", 2, { options: { windowRows: 300, batchRows: 4 } });
    const aborting = new AbortController();
    const load = rejected(Unknown, space.observeMany(endless(), { signal: aborting.signal }));
    await full;
    // What waits has its turn: nothing more is sent, and nothing more is taken.
    await new Promise((resolve) => setTimeout(resolve, 50));
    aborting.abort("enough");
    const { summary, cause } = await load;
    assert.deepEqual([received, summary?.acked, summary?.unknown.length, cause], [15, 0, 300, "enough"]);
    assert.ok(taken <= 301, `${taken} taken`);
  });
});

test("rows in flight when a stream gives up are unknown, and those behind them unsent", async () => {
  const dying = async (connection: Connection) => {
    const first = await connection.next();
    if (first?.case === "resume") return connection.end(detail("IN_DOUBT", "UNKNOWN", "no leader"));
    connection.answer(opened({ creditRows: 2 }));
    await connection.next();
    connection.cut();
  };
  const test = async (client: Client) => {
    const space = await client.space("fake", 2);
    const { summary } = await rejected(Unknown, space.observeMany(rows(5)));
    assert.deepEqual([summary?.acked, summary?.unknown, summary?.unsent], [0, [0, 1], [2, 3, 4]]);
  };
  await withFake(dying, test, IMPATIENT);
});

test("an expired session that is remembered says what is in; the next observation opens another", async () => {
  let sessions = 0;
  const expiring = async (connection: Connection) => {
    const first = await connection.next();
    if (first?.case === "resume") {
      const lost = detail("SESSION_LOST", "REJECTED", "session 9 expired; open a new one", { lastSequence: 3n });
      return connection.end(lost, 4005);
    }
    sessions += 1;
    connection.answer(opened());
    const batch = await connection.batch();
    if (sessions === 1 || batch === undefined) return connection.cut();
    connection.answer(ackOf(batch));
    await connection.next();
  };
  await withFake(expiring, async (client) => {
    const space = await client.space("fake", 2);
    const { summary, message, kind } = await rejected(Refused, space.observeMany(rows(5)));
    assert.deepEqual([message, kind], ["session 9 expired; open a new one", "SESSION_LOST"]);
    assert.deepEqual([summary?.acked, summary?.unknown, summary?.unsent], [3, [], [3, 4]]);
    assert.deepEqual([(await space.observe("again", VECTOR)).sequence, sessions], [1, 2]);
  });
});

test("an expired session of which nothing is known leaves what was sent in doubt", async () => {
  const forgetting = async (connection: Connection) => {
    const first = await connection.next();
    if (first?.case === "resume") return connection.end(detail("SESSION_LOST", "REJECTED", "not known"), 4005);
    connection.answer(opened({ creditRows: 2 }));
    await connection.next();
    connection.cut();
  };
  await withFake(forgetting, async (client) => {
    const space = await client.space("fake", 2);
    const { summary, kind, outcome } = await rejected(Unknown, space.observeMany(rows(3)));
    assert.deepEqual([kind, outcome, summary?.unknown, summary?.unsent], ["SESSION_LOST", "unknown", [0, 1], [2]]);
  });
});

test("a session that another connection takes over is left to it", async () => {
  let turns = 0;
  const superseded = async (connection: Connection) => {
    turns += 1;
    await connection.next();
    connection.answer(opened());
    await connection.next();
    connection.end(detail("SUPERSEDED", "UNKNOWN", "session 9 was resumed by a newer connection"), 4010);
  };
  await withFake(superseded, async (client) => {
    const space = await client.space("fake", 2);
    const { kind } = await rejected(Unknown, space.observe("mine", VECTOR));
    assert.deepEqual([kind, turns], ["SUPERSEDED", 1]);
  });
});

test("a node that goes silent is left and the session resumed", async () => {
  const silentAtFirst = async (connection: Connection) => {
    const first = await connection.next();
    connection.answer(opened());
    if (first?.case !== "resume") return;
    assert.deepEqual([first.value.session, first.value.incarnation], [9n, 1n]);
    return acksAll(connection);
  };
  const test = async (client: Client) => {
    const space = await client.space("fake", 2);
    const summary = await space.observeMany(rows(3));
    assert.equal(summary.acked, 3);
    assert.ok(summary.resumes >= 1);
  };
  await withFake(silentAtFirst, test, { timing: { silenceMs: 200, backoffMinMs: 1 } });
});

test("bytes that are no message break the connection, and the session goes on", async () => {
  let turns = 0;
  const garbling = async (connection: Connection) => {
    await connection.next();
    connection.answer(opened());
    turns += 1;
    if (turns > 1) return acksAll(connection);
    await connection.next();
    connection.raw(Uint8Array.of(0xff, 0xff));
  };
  await withFake(garbling, async (client) => {
    const space = await client.space("fake", 2);
    assert.equal((await space.observeMany(rows(3))).resumes, 1);
  });
});

test("a deadline or a signal says whether the observation was sent", () => {
  const { observe } = mute((text) => text === "first");
  return withFake(observe, async (client) => {
    const space = await client.space("fake", 2, { options: { windowRows: 1 } });
    // From here on there is a session.
    await space.observe("first", VECTOR);
    const late = await rejected(Unknown, space.observe("sent", VECTOR, { deadlineMs: 50 }));
    assert.match(late.message, /deadline has passed before the ack; the observation is on its way yet/);
    const full = await rejected(Refused, space.observe("no room", VECTOR, { deadlineMs: 50 }));
    assert.match(full.message, /deadline has passed before there was room; the observation was not sent/);
    const many = await rejected(Refused, space.observeMany(rows(2), { deadlineMs: 50 }));
    assert.deepEqual([many.summary?.rows, many.summary?.unknown], [0, []]);
    const reason = new Error("enough");
    const aborted = await rejected(Refused, space.observe("no room", VECTOR, { signal: AbortSignal.abort(reason) }));
    assert.equal(aborted.cause, reason);
    await rejected(InvalidArgument, space.observe("bad", VECTOR, { deadlineMs: 0 }));
  });
});

test("a signal ends a load whose source never gives another row", () =>
  withFake(acksAll, async (client) => {
    const space = await client.space("fake", 2);
    const aborting = new AbortController();
    async function* stuck() {
      yield* rows(2);
      await new Promise(() => {});
    }
    const progress = (acked: number) => acked === 2 && aborting.abort();
    const load = space.observeMany(stuck(), { signal: aborting.signal, progress });
    const { summary, cause } = await rejected(Refused, load);
    assert.deepEqual([summary?.acked, (cause as Error).name], [2, "AbortError"]);
  }));

test("a closed client says so, and its waiting calls are unknown", () => {
  const { observe, heard } = mute();
  return withFake(observe, async (client) => {
    const space = await client.space("fake", 2);
    const waiting = rejected(Unknown, space.observe("waits", VECTOR));
    await heard;
    await client.close();
    assert.match((await waiting).message, /closed/);
    assert.match((await rejected(InvalidArgument, space.observe("late", VECTOR))).message, /closed/);
    assert.match((await rejected(InvalidArgument, space.recall(VECTOR))).message, /closed/);
  });
});

test("a session whose space has other dimensions than were said takes no row", async () => {
  const other = (connection: Connection) => connection.answer(opened({ dim: 3 }));
  await withFake(other, async (client) => {
    const space = await client.space("fake", 2);
    const { kind } = await rejected(Refused, space.observe("row", VECTOR));
    assert.equal(kind, "EXISTS");
  });
});
