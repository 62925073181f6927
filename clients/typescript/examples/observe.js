// Streams a thousand observations into a space, each exactly once, and tells what became of them:
//
//     node examples/observe.js 127.0.0.1:7600 127.0.0.1:7601

import { columns, connect, InvalidArgument, Refused, Unknown } from "engram-client";

// In Node.js the nodes are arguments, in a page they are `?node=…`.
const given = globalThis.process?.argv.slice(2) ?? new URLSearchParams(location.search).getAll("node");
const client = connect(given.length > 0 ? given : ["127.0.0.1:7600"]);
try {
  const space = await client.space("example", 4);

  // One by one: the answer comes once the row is durable on a quorum.
  const call = { metadata: { place: "kitchen" }, id: "kettle" };
  const ack = await space.observe("the kettle is on", [0.1, 0.9, 0.3, 0.2], call);
  console.log(`observed as number ${ack.sequence} of the session, at log index ${ack.logIndex}`);

  // Many: columns, or any iterable or asynchronous iterable. Columns are checked whole before a row is sent.
  const angles = Array.from({ length: 1000 }, (_, at) => at / 100);
  const embeddings = angles.map((angle) => [angle, 2 * angle].flatMap((each) => [Math.cos(each), Math.sin(each)]));
  const texts = angles.map((_, at) => `memory ${at}`);
  const summary = await space.observeMany(columns(texts, embeddings));
  console.log(`${summary.acked} of ${summary.rows} acked, over ${summary.resumes} resumed connections`);
  console.log(`readable from log index ${summary.token.logIndex} on`);
} catch (error) {
  if (error instanceof InvalidArgument) console.error(`nothing was sent: ${error.message}`);
  else if (error instanceof Refused) {
    console.error(`${error.summary?.refused.length ?? 0} rows surely are not in, the others are: ${error.message}`);
  } else if (error instanceof Unknown) {
    console.error(
      `of ${error.summary?.unknown.length ?? 1} rows nobody knows: look before they are sent again: ${error.message}`,
    );
  } else throw error;
  if (globalThis.process) process.exitCode = 1;
} finally {
  await client.close();
}
