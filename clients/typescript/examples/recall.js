// Asks for the memories nearest to a cue, after the observe example has run; then follows what is new:
//
//     node examples/recall.js 127.0.0.1:7600 127.0.0.1:7601

import { connect } from "engram-client";

// In Node.js the nodes are arguments, in a page they are `?node=…`.
const given = globalThis.process?.argv.slice(2) ?? new URLSearchParams(location.search).getAll("node");
const client = connect(given.length > 0 ? given : ["127.0.0.1:7600"]);
try {
  const space = await client.space("example", 4);
  const cue = [1, 0.1, 0.9, 0.2];

  // Linearizable: whatever anybody was acked before now. Any node may answer.
  const answer = await space.recall(cue, 5, { consistency: "linearizable" });
  console.log(`node ${answer.snapshot.node} answers at log index ${answer.snapshot.appliedIndex}:`);
  for (const { score, text } of answer) console.log(`  ${score.toFixed(4)}  ${text}`);

  // Each node by itself, never older than the answer above: the client carries the token.
  for (const endpoint of client.endpoints) {
    const same = await (await client.on(endpoint).space("example", 4)).recall(cue, 5);
    console.log(`${endpoint}: ${same.hits.length} hits at ${same.snapshot.appliedIndex}`);
  }

  // With a condition; and what is committed from now on.
  for (const { text } of await space.recall(cue, 1, { where: { place: "kitchen" } }))
    console.log(`in the kitchen: ${text}`);
  const changes = await space.watch();
  await space.observe("something new", cue);
  for await (const { rows } of changes) {
    const [row] = rows;
    if (row === undefined) continue;
    console.log(`committed at log index ${row.logIndex}: ${row.text}`);
    break;
  }

  // As of a moment that has passed, all nodes give one answer for ever.
  const atIndex = answer.snapshot.appliedIndex;
  const [now, past] = [await space.recall(cue, 1), await space.recall(cue, 1, { atIndex })];
  console.log(`now: ${now.hits[0]?.text}; at log index ${atIndex}: ${past.hits[0]?.text}`);
} finally {
  await client.close();
}
