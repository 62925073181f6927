// An agent's memory: it remembers what is said, several things at once, replaces what has changed, recalls what fits,
// and forgets what it is told to forget:
//
//     node examples/agent_memory.js 127.0.0.1:7600
//
// The embedding here is a toy of letter pairs, so that the example needs no model; put your own in its place.

import { connect, field } from "engram-client";

const DIM = 256;

/** How often each pair of letters is in the text. @param {string} text */
function embed(text) {
  const vector = new Float32Array(DIM).fill(1e-3);
  for (let at = 1; at < text.length; at += 1) {
    const pair = text.toLowerCase().charCodeAt(at - 1) * 31 + text.toLowerCase().charCodeAt(at);
    vector[pair % DIM] = (vector[pair % DIM] ?? 0) + 1;
  }
  return vector;
}

// In Node.js the nodes are arguments, in a page they are `?node=…`.
const given = globalThis.process?.argv.slice(2) ?? new URLSearchParams(location.search).getAll("node");
const client = connect(given.length > 0 ? given : ["127.0.0.1:7600"]);
try {
  const memory = await client.space("example-agent", DIM);

  /** @param {string} text @param {string} speaker @param {string} id */
  const remember = (text, speaker, id = "") =>
    memory.observe(text, embed(text), { timeMs: new Date(), metadata: { speaker }, id });

  // Concurrent observations share batches; each resolves once its own row is durable.
  const said = [
    "My sister lives in Lisbon",
    "I am allergic to peanuts",
    "Book me a flight on Friday",
    "My cat is Momo",
  ];
  await Promise.all(said.map((text) => remember(text, "user")));
  // A row with an id replaces the one that had it: a fact that changes.
  await remember("The user's favourite colour is green", "agent", "colour");
  await remember("The user's favourite colour is blue", "agent", "colour");

  for (const question of ["Where does my sister live?", "Can I eat peanuts?", "What is my favourite colour?"]) {
    const [best] = await memory.recall(embed(question), 1);
    console.log(`${question} -> ${best?.text}`);
  }

  const user = await memory.recall(embed("favourite colour"), 10, { where: { speaker: "user" } });
  const others = await memory.recall(embed("favourite colour"), 10, { where: field("speaker").oneOf("user").not() });
  console.log(`said by the user: ${user.hits.length}; by others: ${others.hits.length}`);
  const { rows } = await memory.forget({ where: { speaker: "user" }, erase: true });
  console.log(`forgotten: ${rows}; left: ${(await memory.count()).count}`);
} finally {
  await client.close();
}
