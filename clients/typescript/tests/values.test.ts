// What is checked before anything is sent, and what travels.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { test } from "node:test";
import { batchFrame, openFrame, resumeFrame } from "../src/frames.js";
import { MemoryRequestSchema } from "../src/gen/engram/v1/memory_pb.js";
import { FilterSchema, ObservationSchema } from "../src/gen/engram/v1/types_pb.js";
import { whereToWire } from "../src/filters.js";
import {
  atLeast,
  bounded,
  columns,
  connect,
  field,
  InvalidArgument,
  type Observation,
  timeRange,
} from "../src/index.js";
import { levelToWire, raised } from "../src/consistency.js";
import { completeObserve } from "../src/options.js";
import { iterate } from "../src/rows.js";
import { checkSpaceName, metadataFromWire, observationToWire, vectorFromWire } from "../src/values.js";

const GOOD: Observation = { text: "good", embedding: [0.5, -2] };
const decode = (row: Uint8Array) => fromBinary(ObservationSchema, row);

test("an observation comes back as it was sent", () => {
  const metadata = { text: "ä", whole: -7, real: 1.5, large: 2n ** 62n, yes: true, huge: 1e300 };
  const row = { ...GOOD, timeMs: new Date(1234), metadata, id: "name" };
  const { text, embedding, timeMs, id, metadata: wire } = decode(observationToWire(row, 2, "row"));
  assert.deepEqual({ text, timeMs, id }, { text: "good", timeMs: 1234n, id: "name" });
  assert.deepEqual(vectorFromWire(embedding), Float32Array.of(0.5, -2));
  assert.deepEqual(metadataFromWire(wire), metadata);
  assert.equal(wire["whole"]?.kind.case, "integer");
  assert.equal(wire["huge"]?.kind.case, "real");
});

test("a row that is wrong is told by name", () => {
  const wrong: [Partial<Record<keyof Observation, unknown>>, RegExp][] = [
    [{ text: " \n" }, /text is empty/],
    [{ text: 7 }, /text is empty/],
    [{ text: "é".repeat(32769) }, /over 65536 bytes/],
    [{ text: "half \ud800" }, /surrogate/],
    [{ embedding: [1] }, /has 1 components; the space has 2/],
    [{ embedding: [1, Number.NaN] }, /embedding\[1\] is NaN/],
    [{ embedding: [1e39, 1] }, /embedding\[0\] is 1e\+39/],
    [{ embedding: null }, /no array/],
    [{ embedding: new Float32Array(3) }, /3 components/],
    [{ timeMs: 1.5 }, /whole milliseconds/],
    [{ timeMs: new Date(Number.NaN) }, /whole milliseconds/],
    [{ metadata: { key: Number.POSITIVE_INFINITY } }, /finite/],
    [{ metadata: { key: 2n ** 63n } }, /64 bits/],
    [{ metadata: { key: null } }, /use a text/],
    [{ metadata: { key: "x".repeat(16385) } }, /bytes; at most 16384/],
    [{ metadata: Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`${at}`, 1])) }, /65 entries/],
    [{ id: "x".repeat(257) }, /at most 256 bytes/],
  ];
  for (const [fields, message] of wrong) {
    const row = { ...GOOD, ...fields } as Observation;
    assert.throws(
      () => observationToWire(row, 2, "row 3"),
      (error) => {
        assert.ok(error instanceof InvalidArgument && error.kind === "INVALID" && error.outcome === "refused");
        assert.match(error.message, message);
        assert.match(error.message, /^row 3/);
        return true;
      },
    );
  }
});

test("an encoded row is what the protocol's own encoder reads and writes", () => {
  const texts = ["a", "é".repeat(21), "é".repeat(200), "\u{1f600}", "x".repeat(65536)];
  const numbers = [0, -1, 63, -64, 64, 2 ** 31, -(2 ** 53) + 1, 2n ** 63n - 1n, -(2n ** 63n), 1.5, -0.25];
  for (const [at, text] of texts.entries()) {
    const metadata = {
      ...Object.fromEntries(numbers.map((number) => [`${number}`, number])),
      [text.slice(0, 50)]: text.slice(0, 9000),
      "": "",
      no: false,
    };
    const row = observationToWire(
      { text, embedding: [at, 1], timeMs: numbers[at] as number, metadata, id: "x".repeat(at * 60) },
      2,
      "row",
    );
    const message = decode(row);
    assert.equal(message.text, text);
    assert.deepEqual(metadataFromWire(message.metadata), metadata);
    // Fields may come in any order, entries too: the same bytes but for that.
    assert.equal(toBinary(ObservationSchema, message).length, row.length);
  }
});

test("a batch around encoded rows is what the protocol's own encoder writes", () => {
  const observations = ["one", "two"].map((text) => decode(observationToWire({ ...GOOD, text }, 2, "row")));
  const rows = ["one", "two"].map((text) => observationToWire({ ...GOOD, text }, 2, "row"));
  const batch = { firstSequence: 300n, observations };
  const observe = { message: { case: "batch" as const, value: batch } };
  const expected = create(MemoryRequestSchema, { message: { case: "observe", value: observe } });
  assert.deepEqual(fromBinary(MemoryRequestSchema, batchFrame(300, rows)), expected);
});

test("a session is opened and resumed as its options say", () => {
  const options = completeObserve({ stage: "searchable", searchableNodes: 2, priority: "low" });
  for (const frame of [openFrame("notes", options, ""), resumeFrame(7n, 8n, options, "")]) {
    const { message } = fromBinary(MemoryRequestSchema, frame);
    const inner = message.case === "observe" ? message.value.message : undefined;
    assert.ok(inner?.case === "open" || inner?.case === "resume");
    assert.deepEqual([inner.value.ackStage, inner.value.searchableNodes, inner.value.priority], [3, 2, 3]);
  }
  assert.throws(() => completeObserve({ stage: "lost" as "received" }), /stage is lost/);
  assert.throws(() => completeObserve({ batchRows: 0.5 }), /batchRows is 0.5/);
  assert.equal(completeObserve({ batchRows: 5000 }).batchRows, 1000);
});

test("columns are rows, checked whole before the first is taken", () => {
  const flat = columns(["a", "b"], Float32Array.of(1, 2, 3, 4), { timeMs: 5, ids: ["x", "y"] });
  assert.equal(flat.length, 2);
  const second = { text: "b", embedding: [3, 4], timeMs: 5, metadata: undefined, id: "y" };
  assert.deepEqual([...flat][1], second);
  assert.deepEqual(
    [
      ...columns(
        ["a", "b"],
        [
          [1, 2],
          [3, 4],
        ],
        { timeMs: [1, 2] },
      ),
    ][1]?.timeMs,
    2,
  );
  assert.equal([...columns([], [])].length, 0);
  assert.throws(() => columns(["a"], [[1], [2]]), /2 embeddings for 1 texts/);
  assert.throws(() => columns(["a"], [[1]], { ids: [] }), /ids has 0 rows/);
  assert.throws(
    () =>
      iterate(
        columns(
          ["a", " "],
          [
            [1, 2],
            [3, 4],
          ],
        ),
        2,
      ),
    /row 1: text is empty/,
  );
  assert.throws(() => iterate("rows" as never, 2), /rows are string/);
});

test("conditions are those of the protocol", () => {
  const both = field("year").range({ atLeast: 1990, lessThan: 2000 }).and(field("topic").oneOf("fish", "bird").not());
  const wire = create(FilterSchema, whereToWire(both.or(timeRange({ until: new Date(5) }))));
  assert.ok(wire.kind.case === "any");
  assert.deepEqual(
    wire.kind.value.filters.map(({ kind }) => kind.case),
    ["all", "time"],
  );
  const equal = whereToWire({ topic: "fish", year: [2025, 2026] });
  assert.ok(equal.kind.case === "all");
  assert.deepEqual(
    equal.kind.value.filters.map(({ kind }) => kind.case === "oneOf" && kind.value.values.length),
    [1, 2],
  );
  assert.throws(() => field("year").range({}), /no bound/);
  assert.throws(() => timeRange({}), /no bound/);
  assert.throws(() => whereToWire(field("").exists()), /key is empty/);
  assert.throws(() => whereToWire("topic" as never), /where is string/);
  assert.throws(() => whereToWire({ key: Array.from({ length: 256 }, (_, at) => at) }), /parts and values/);
  let deep = field("key").exists();
  for (let depth = 0; depth < 8; depth += 1) deep = deep.not();
  assert.throws(() => whereToWire(deep), /deeper than 8/);
});

test("levels are checked, and tokens only rise within an incarnation", () => {
  const token = { logIndex: 5, incarnation: 1n };
  assert.deepEqual(levelToWire("session", token), { case: "atLeast", value: { logIndex: 5n, incarnation: 1n } });
  assert.equal(levelToWire(atLeast(token), token).case, "atLeast");
  assert.equal(levelToWire(bounded(10), token).case, "bounded");
  assert.throws(() => bounded(86_400_001), /stalenessMs/);
  assert.throws(() => levelToWire("strong" as "session", token), /consistency is strong/);
  assert.deepEqual(raised(token, { logIndex: 3, incarnation: 1n }), token);
  assert.deepEqual(raised(token, { logIndex: 3, incarnation: 2n }), { logIndex: 3, incarnation: 2n });
});

test("endpoints, waits and names of spaces are checked before anything is dialled", () => {
  for (const good of ["node:1", "[::1]:7600", "wss://engram.example", "ws://127.0.0.1:7600/engram/"]) connect(good);
  for (const bad of ["node", ":7600", "node:port", "node:70000", "http://node:1", "a@b:1", "wss://a?b"]) {
    assert.throws(() => connect([bad]), InvalidArgument, bad);
  }
  assert.throws(() => connect([]), /no endpoints/);
  assert.throws(() => connect("node:1", { timing: { silenceMs: Number.NaN } }), /silenceMs/);
  checkSpaceName("notes/2025.a_b-c:d");
  for (const bad of ["", "a b", "x".repeat(129), "a\ud800"]) assert.throws(() => checkSpaceName(bad), InvalidArgument);
});
