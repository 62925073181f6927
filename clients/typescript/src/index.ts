/**
 * A client for Engram: exactly-once streams of observations, recalls from any node; in Node.js and in browsers.
 *
 *     import { connect } from "engram-client";
 *
 *     const client = connect(["127.0.0.1:7600"]);
 *     const notes = await client.space("notes", 4);
 *     await notes.observe("the kettle is on", [0.1, 0.9, 0, 0], { metadata: { place: "kitchen" } });
 *     for (const hit of await notes.recall([0.1, 0.8, 0, 0], 3)) console.log(hit.score, hit.text);
 *     await client.close();
 *
 * @module
 */

export { type Client, connect, type SpaceCall } from "./client.js";
export { type AtLeast, atLeast, type Bounded, bounded, type Consistency, type ReadToken } from "./consistency.js";
export { EngramError, type ErrorKind, InvalidArgument, type Outcome, ReadError, Refused, Unknown } from "./errors.js";
export { type Field, type Filter, field, type RangeBounds, timeRange, type Where } from "./filters.js";
export type { ListCall, Listing } from "./list.js";
export * as limits from "./limits.js";
export type { AckStage, ConnectOptions, ObserveOptions, Priority, Timing } from "./options.js";
export type {
  Ack,
  Answer,
  Change,
  Counted,
  Forgotten,
  Hit,
  RefusedRow,
  Row,
  RowSet,
  Snapshot,
  Summary,
} from "./results.js";
export { type ColumnOptions, type Columns, columns, type RowLike, type Rows } from "./rows.js";
export type {
  CallOptions,
  CountCall,
  ForgetCall,
  GetCall,
  ObserveCall,
  ObserveManyCall,
  ReadCall,
  RecallCall,
  Space,
  WatchCall,
} from "./space.js";
export type { Metric, Precision, SpaceConfig } from "./spaces.js";
export type { Member, SpaceInfo, Status } from "./status.js";
export type { Observation, Time, Value, Vector } from "./values.js";
export type { Watcher } from "./watch.js";
export type { WebSocketConstructor, WebSocketLike } from "./websocket.js";
