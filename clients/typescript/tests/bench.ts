// How many rows one connection takes: `npm run bench`. Needs the server as the tests do; decides nothing.

import { connect, type Observation } from "../src/index.js";
import { withCluster } from "./cluster.js";

const DIM = 64;
const ROWS = 50_000;
const TURNS = 3;

/** Made before the time is taken: it is the client that is measured, and the node. */
const rows = Array.from({ length: ROWS }, (_, number): Observation => {
  const embedding = Float32Array.from({ length: DIM }, (_, at) => Math.sin(number * DIM + at));
  return { text: `row ${number}`, embedding, timeMs: number, metadata: { number } };
});

for (const nodes of [1, 3]) {
  await withCluster(nodes, async (cluster) => {
    for (let turn = 0; turn < TURNS; turn += 1) {
      await cluster.createSpace(`bench-${turn}`, DIM);
      const client = connect(cluster.nodes);
      const space = await client.space(`bench-${turn}`, DIM);
      await space.observe(
        "the session is open",
        Float32Array.from({ length: DIM }, () => 1),
      );
      const since = performance.now();
      const { acked } = await space.observeMany(rows);
      const seconds = (performance.now() - since) / 1000;
      const rate = Math.round(acked / seconds).toLocaleString("en");
      console.log(
        `${nodes} node(s): ${acked} rows of ${DIM} dimensions committed in ${seconds.toFixed(2)} s: ${rate} rows/s`,
      );
      await client.close();
    }
  });
}
