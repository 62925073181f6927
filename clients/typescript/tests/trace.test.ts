// Observations and recalls that belong to a trace say so, and no others do: in messages, as pages can set no header.

import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgument } from "../src/index.js";
import { ackOf, type Connection, noHits, opened, rejected, VECTOR, withFake } from "./fake.js";

const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

test("a traced client names the trace over a resume too, and the client it was made of goes on without", () => {
  const traces: [string, string][] = [];
  let streams = 0;
  const breaksOnce = async (connection: Connection) => {
    streams += 1;
    for (let message = await connection.next(); message !== undefined; message = await connection.next()) {
      if (message.case === "open" || message.case === "resume") {
        traces.push([message.case, message.value.traceparent]);
        connection.answer(opened());
      } else if (message.case === "batch") {
        if (streams === 1) return connection.cut();
        connection.answer(ackOf(message.value));
      }
    }
  };
  return withFake(breaksOnce, async (client, fake) => {
    fake.recall = ({ traceparent }) => {
      traces.push(["recall", traceparent]);
      return noHits();
    };
    const traced = client.traced(TRACE);
    const space = await traced.on(fake.address).space("fake", 2);
    await space.observe("row", VECTOR);
    await space.recall(VECTOR);
    assert.deepEqual(traces, [
      ["open", TRACE],
      ["resume", TRACE],
      ["recall", TRACE],
    ]);
    await traced.close();
    await rejected(Error, space.observe("late", VECTOR, { deadlineMs: 100 }));
    // What the traced one saw the client waits for; its own streams are of no trace.
    assert.equal(client.token.logIndex, 100);
    traces.length = 0;
    const plain = await client.space("fake", 2);
    await plain.observe("row", VECTOR);
    await plain.recall(VECTOR);
    assert.deepEqual(traces, [
      ["open", ""],
      ["recall", ""],
    ]);
  });
});

test("what is not as W3C says is refused", () =>
  withFake(
    () => {},
    async (client) => {
      const bad = [
        "",
        `${TRACE}-more`,
        TRACE.replace("00-4", "ff-4"),
        TRACE.toUpperCase(),
        TRACE.slice(0, -3),
        `${TRACE}\n`,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
      ];
      for (const traceparent of bad) assert.throws(() => client.traced(traceparent), InvalidArgument, traceparent);
      client.traced("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-later");
    },
  ));
