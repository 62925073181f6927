// A session of numbered rows on a stream: batches within the credit, acks in order, resumed after a break.
//
// Invariant: acks follow each other without a gap, each with its log index.

import { Stream } from "./stream.js";

const BATCH_ROWS = 500;

export class Session {
  /** Batches sent and not wholly acked: the last number and the bytes of each. */
  #flying = [];

  constructor(stream, opened) {
    this.stream = stream;
    this.opened = opened;
    this.lastSequence = opened.lastSequence.toNumber();
    this.acked = this.lastSequence;
    this.sent = this.lastSequence;
    /** Rows that were acked as repeats. */
    this.repeats = 0;
  }

  static open(address, space) {
    return Session.#begin(address, { open: { space } });
  }

  /** Takes `session` over on a new connection. */
  static resume(address, { opened: { session, incarnation } }) {
    return Session.#begin(address, { resume: { session, incarnation } });
  }

  static async #begin(address, observe) {
    const stream = await new Stream(address).opened();
    stream.send({ observe });
    const message = await stream.next();
    if (!message.observe?.opened) throw new Error(`not opened: ${JSON.stringify(message)}`);
    return new Session(stream, message.observe.opened);
  }

  /** Goes back to a number that may be committed already: it and what follows is sent again. */
  rewind(sequence) {
    this.acked = this.sent = sequence - 1;
  }

  /** Sends rows, waiting for acks where the credit is gone. */
  async send(rows, batchRows = BATCH_ROWS) {
    for (let at = 0; at < rows.length; at += batchRows) {
      const observations = rows.slice(at, at + batchRows);
      while (this.#over(observations.length)) await this.#ack();
      const batch = { firstSequence: this.sent + 1, observations };
      const bytes = this.stream.send({ observe: { batch } });
      this.sent += observations.length;
      this.#flying.push({ last: this.sent, bytes });
    }
  }

  /** Whether so many rows more, about as long as the last batch, are over the credit. */
  #over(rows) {
    const { creditRows, creditBytes } = this.opened.credit;
    const bytes = this.#flying.reduce((sum, batch) => sum + batch.bytes, 0);
    const more = this.#flying.at(-1)?.bytes ?? 0;
    return this.sent - this.acked + rows > creditRows || bytes + more > creditBytes.toNumber();
  }

  /** Waits until all is acked that was sent. */
  async flush() {
    while (this.acked < this.sent) await this.#ack();
  }

  async #ack() {
    const message = await this.stream.next();
    const ack = message.observe?.ack;
    if (!ack) throw new Error(`no ack: ${JSON.stringify(message)}`);
    const first = ack.firstSequence.toNumber();
    const follows = first === this.acked + 1 && !ack.logIndex.isZero();
    if (!follows) throw new Error(`after ${this.acked}: ${JSON.stringify(ack)}`);
    this.acked = ack.lastSequence.toNumber();
    if (ack.repeat) this.repeats += this.acked - first + 1;
    this.#flying = this.#flying.filter((batch) => batch.last > this.acked);
  }
}
