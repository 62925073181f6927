// What a page can do at /v1/stream, checked in a browser; each check is reported to the server of this page.
//
// A check that fails ends the run: those after it build on it.

import { Session } from "./session.js";
import { Stream } from "./stream.js";

const SPACE = "browser";
const DIM = 64;
/** Rows before the break, and those of which it happens in the middle. */
const ROWS = 1000;
const ROWS_AT_BREAK = 500;
const BREAK_BATCH = 100;
/** Bytes that still pass before the break: some of the batches, and half of a frame. */
const BREAK_BYTES = 70_000;
const SPEED_ROWS = 20_000;

const { node, relay, foreign } = await (await fetch("/config")).json();
const report = (body) => fetch("/report", { method: "POST", body: JSON.stringify(body) });

function expect(so, text) {
  if (!so) throw new Error(text);
}

/** Rows that are the same in each run: xorshift from the row's number. */
function row(number) {
  let state = (number * 2654435761) >>> 0 || 1;
  const embedding = Float32Array.from({ length: DIM }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state | 0) / 2 ** 31;
  });
  return { text: `row ${number}`, embedding: new Uint8Array(embedding.buffer) };
}

const rows = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => row(from + at));

/** The nearest row to one, by its embedding, on the stream that observed it. */
async function recalled(stream, number) {
  const recall = { requestId: number, space: SPACE, cue: row(number).embedding, k: 1, ownObservations: true };
  stream.send({ recall });
  const answer = (await stream.next()).recall;
  expect(answer?.requestId.toNumber() === number && answer.result, `no result: ${JSON.stringify(answer)}`);
  return { text: answer.result.hits[0].text, rows: answer.result.snapshot.rows.toNumber() };
}

/** Reads a watch until it has given rows up to a number, in order, each once. */
async function watched(stream, watchId, from, to) {
  for (let next = from; next <= to; ) {
    const answer = (await stream.next()).watch;
    expect(answer?.watchId.toNumber() === watchId && answer.page, `no page: ${JSON.stringify(answer)}`);
    for (const { observation } of answer.page.rows) {
      expect(observation.text === `row ${next}`, `${observation.text} where row ${next} was to come`);
      next += 1;
    }
  }
}

async function foreignPage() {
  const frame = document.createElement("iframe");
  const told = new Promise((resolve) => {
    addEventListener("message", ({ origin, data }) => origin === foreign && resolve(data));
  });
  frame.src = `${foreign}/foreign.html?address=${node}`;
  document.body.append(frame);
  const outcome = await told;
  expect(!outcome.opened && outcome.code === 1006, `the foreign page got ${JSON.stringify(outcome)}`);
  await (await new Stream(node).opened()).close();
  return "a page of another origin gets no WebSocket, this page gets one";
}

async function textFrame() {
  const stream = await new Stream(node).opened();
  stream.sendRaw("hello");
  const { code, detail, message } = await stream.end();
  expect(code === 1003 && detail.message.includes("text frame"), message);
  return "a text frame is answered with an error in full and close code 1003";
}

async function otherVersion() {
  const closed = await (await new Stream(node, "engram.v9").opened()).end();
  expect(closed.code === 4012 && closed.message.includes("speaks engram.v1"), closed.message);
  return "another version is told why, with close code 4012";
}

async function observe(state) {
  // By a relay, which can be told to break the connection.
  state.session = await Session.open(relay, SPACE);
  const { dim, credit } = state.session.opened;
  expect(dim === DIM && credit.creditRows > 0, `opened with ${JSON.stringify(state.session.opened)}`);
  await state.session.send(rows(1, ROWS), BREAK_BATCH);
  await state.session.flush();
  expect(state.session.acked === ROWS, `acked to ${state.session.acked}`);
  return `${ROWS} rows in batches, all acked in order`;
}

async function recall(state) {
  for (const number of [1, ROWS / 2, ROWS]) {
    const { text } = await recalled(state.session.stream, number);
    expect(text === `row ${number}`, `by the embedding of row ${number} comes ${text}`);
  }
  return "rows are recalled by their own embeddings, on the stream that observed them";
}

async function watch(state) {
  state.watcher = await new Stream(node).opened();
  state.watcher.send({ watch: { watchId: 5, request: { space: SPACE, afterLogIndex: 0 } } });
  await watched(state.watcher, 5, 1, ROWS);
  return `a watch on another WebSocket gives ${ROWS} rows in order, each once`;
}

async function breakInTheMiddle(state) {
  const before = state.session;
  await fetch("/break", { method: "POST", body: String(BREAK_BYTES) });
  const fresh = rows(ROWS + 1, ROWS + ROWS_AT_BREAK);
  await before.send(fresh, BREAK_BATCH);
  const { code } = await before.stream.end();
  expect(code === 1006, `the broken connection closed with ${code}`);
  const session = await Session.resume(relay, before);
  const { lastSequence } = session;
  const possible = lastSequence >= ROWS && lastSequence < ROWS + ROWS_AT_BREAK;
  expect(possible, `resumed at ${lastSequence}`);
  // Everything again, as if no resume had said how far it came.
  session.rewind(ROWS + 1);
  await session.send(fresh);
  await session.flush();
  expect(session.repeats === lastSequence - ROWS, `${session.repeats} repeats, resumed at ${lastSequence}`);
  await watched(state.watcher, 5, ROWS + 1, ROWS + ROWS_AT_BREAK);
  state.session = session;
  return `a connection that broke in the middle of a frame is resumed at ${lastSequence}; all is acked, seen once`;
}

async function closeAndResume(state) {
  const all = ROWS + ROWS_AT_BREAK;
  const { code } = await state.session.stream.close();
  expect(code === 1000, `closed with ${code}`);
  const session = await Session.resume(node, state.session);
  expect(session.lastSequence === all, `resumed at ${session.lastSequence}`);
  const last = await recalled(session.stream, all);
  expect(last.text === `row ${all}` && last.rows === all, `recalled ${JSON.stringify(last)}`);
  state.session = session;
  return `a closed session is resumed at ${all}; the space has ${all} rows: none lost, none doubled`;
}

async function stopWatching(state) {
  state.watcher.send({ stopWatch: { watchId: 5 } });
  let answer;
  do answer = (await state.watcher.next()).watch;
  while (answer?.page && answer.page.rows.length === 0);
  expect(answer?.stopped, `no stop: ${JSON.stringify(answer)}`);
  state.watcher.send({ watch: { watchId: 6, request: { space: "nowhere" } } });
  const refused = (await state.watcher.next()).watch;
  expect(refused?.error && refused.watchId.toNumber() === 6, `not refused: ${JSON.stringify(refused)}`);
  await state.watcher.close();
  return "a watch is stopped, another refused, on a stream that goes on";
}

async function speed({ session }) {
  const from = session.sent + 1;
  const fresh = rows(from, from + SPEED_ROWS - 1);
  const since = performance.now();
  await session.send(fresh);
  await session.flush();
  const seconds = (performance.now() - since) / 1000;
  await session.stream.close();
  const resumed = await Session.resume(node, session);
  expect(resumed.lastSequence === from + SPEED_ROWS - 1, `resumed at ${resumed.lastSequence}`);
  await resumed.stream.close();
  const rate = Math.round(SPEED_ROWS / seconds).toLocaleString("en");
  return `${SPEED_ROWS} rows of ${DIM} dimensions acked in ${seconds.toFixed(2)} s on one connection: ${rate} rows/s`;
}

const CHECKS = [
  foreignPage, textFrame, otherVersion, observe, recall, watch, breakInTheMiddle, closeAndResume, stopWatching, speed,
];

const state = {};
try {
  for (const check of CHECKS) await report({ ok: await check(state) });
  await report({ done: CHECKS.length });
} catch (error) {
  await report({ failed: String(error.stack ?? error) });
}
