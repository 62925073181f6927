// What is lost in the middle of a stream: the leader, connections. Each row is in once, in its order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Client, connect, Unknown } from "../src/index.js";
import { openObserver } from "../src/driver.js";
import { resumeFrame } from "../src/frames.js";
import { Link } from "../src/link.js";
import { completeObserve } from "../src/options.js";
import { Pool } from "../src/pool.js";
import { Limit } from "../src/waits.js";
import { type Cluster, withCluster } from "./cluster.js";
import { rejected } from "./fake.js";
import { allRows, DIM, interruptedLoad, OPTIONS, row, rows, wrongAmong } from "./load.js";

const COUNT = 10_000;
/** Bytes after which connections are cut; the rows are of some 60 bytes each, so all of them are ten times as many. */
export const CUTS = [20_000, 60_000];

async function withClient(endpoints: readonly string[], use: (client: Client) => Promise<void>): Promise<void> {
  const client = connect(endpoints);
  try {
    await use(client);
  } finally {
    await client.close();
  }
}

/** The endpoints, the leader's first or left out. */
async function around(cluster: Cluster, leader: number, with_: boolean): Promise<string[]> {
  const others = cluster.endpoints.filter((_, at) => at !== leader - 1);
  return with_ ? [cluster.endpoints[leader - 1] ?? "", ...others] : others;
}

test("10,000 rows over two cut connections and a killed leader: each once, in order", () =>
  withCluster(3, async (cluster) => {
    await cluster.createSpace("load", DIM);
    await withClient(cluster.endpoints, async (client) => {
      cluster.cuts.plan(...CUTS);
      const interrupt = async () => cluster.kill(await cluster.leader());
      const { acked, resumes, wrong } = await interruptedLoad(client, "load", {
        count: COUNT,
        at: COUNT / 2,
        interrupt,
      });
      assert.deepEqual([acked, wrong, cluster.cuts.made], [COUNT, null, CUTS.length]);
      assert.ok(resumes >= CUTS.length, `${resumes} resumes`);
      const counted = JSON.parse(
        await cluster.run("count", "--space", "load", "--level", "linearizable", "--json"),
      ) as { count: number };
      assert.equal(counted.count, COUNT);
    });
  }));

for (const streamsTo of ["the leader", "a follower"]) {
  test(`a stream to ${streamsTo} outlives the leader, and the killed node catches up`, () =>
    withCluster(3, async (cluster) => {
      await Promise.all(["first", "load"].map((name) => cluster.createSpace(name, DIM)));
      const leader = await cluster.leader();
      await withClient(await around(cluster, leader, streamsTo === "the leader"), async (client) => {
        // Any session tells who leads; the next one is opened there.
        if (streamsTo === "the leader") await (await client.space("first", DIM)).observe("tell", row(0).embedding);
        const interrupt = () => cluster.kill(leader);
        const { acked, resumes, wrong } = await interruptedLoad(client, "load", { count: 3000, at: 1000, interrupt });
        assert.deepEqual([acked, wrong], [3000, null]);
        if (streamsTo === "the leader") assert.ok(resumes >= 1);
        await cluster.startNode(leader);
        await cluster.ready(leader);
        const back = await client.on(cluster.endpoints[leader - 1] ?? "").space("load", DIM);
        assert.equal(wrongAmong(await allRows(back, client.token), 3000), null);
      });
    }));
}

test("the only node may be killed and started again in the middle of a load, and while a watch waits", () =>
  withCluster(1, async (cluster) => {
    await cluster.createSpace("load", DIM);
    await withClient(cluster.endpoints, async (client) => {
      const space = await client.space("load", DIM, { options: OPTIONS });
      const watcher = await space.watch();
      const interrupt = async () => {
        await cluster.kill(1);
        await cluster.startNode(1);
      };
      const load = space.observeMany(rows(2000, 1000, interrupt));
      const seen = [];
      for await (const change of watcher) {
        seen.push(...change.rows);
        if (seen.length >= 2000) break;
      }
      assert.ok((await load).resumes >= 1);
      assert.equal(wrongAmong(seen, 2000), null);
    });
  }));

test("observations that wait for their acks outlive the leader", () =>
  withCluster(3, async (cluster) => {
    await cluster.createSpace("load", DIM);
    await withClient(cluster.endpoints, async (client) => {
      const space = await client.space("load", DIM, { options: OPTIONS });
      await space.observe("row 0", row(0).embedding, { timeMs: 0 });
      const leader = await cluster.leader();
      const [first, ...others] = Array.from({ length: 199 }, (_, at) => {
        const { text, ...rest } = row(at + 1);
        return space.observe(text, rest.embedding, rest);
      });
      // Some are under way.
      await first;
      await cluster.kill(leader);
      const acks = await Promise.all(others);
      assert.deepEqual(
        acks.map(({ sequence }) => sequence),
        Array.from({ length: 198 }, (_, at) => at + 3),
      );
      assert.equal(wrongAmong(await allRows(space, client.token), 200), null);
    });
  }));

test("a session that another connection takes over is left to it", () =>
  withCluster(1, async (cluster) => {
    await cluster.createSpace("load", DIM);
    await withClient(cluster.endpoints, async (client) => {
      const space = await client.space("load", DIM, { options: OPTIONS });
      const ack = await space.observe("row 0", row(0).embedding, { timeMs: 0 });
      const [{ session } = { session: 0n }] = await allRows(space, client.token);
      const pool = new Pool(cluster.endpoints, {});
      const limit = new Limit(undefined, undefined);
      let rival: Link | undefined;
      const takeOver = async () => {
        const resume = resumeFrame(session, client.token.incarnation, completeObserve(), "");
        rival = await Link.open(pool, cluster.endpoints[0] ?? "", resume, 60_000, limit);
      };
      const { kind, summary } = await rejected(Unknown, space.observeMany(rows(1_000_000, 1000, takeOver)));
      assert.deepEqual([kind, summary?.resumes, ack.sequence], ["SUPERSEDED", 0, 1]);
      await rival?.close();
      // The next observation has a new session.
      assert.equal((await space.observe("again", row(1).embedding)).sequence, 1);
      const observer = await openObserver(
        pool,
        undefined,
        { name: "load", dim: DIM },
        completeObserve(),
        "",
        60_000,
        undefined,
      );
      await observer.close();
      await pool.close();
    });
  }));
