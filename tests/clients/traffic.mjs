// Traffic that counts: clients that emit numbered events, want each acknowledged, and try again
// where an answer stays out. What is lost, doubled or mixed up ends the test.

import assert from "node:assert/strict";
import { Client, within } from "./lib.mjs";

const PADDING = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(8);

export class Traffic {
  #client;
  #wake = [];
  /** Events that were acknowledged. */
  acked = 0;
  /** Times a client came back. */
  returns = 0;
  /** Attempts to connect that failed. */
  failures = [];

  constructor(url, { clients = 10, ackTimeout = 1_000, ...options } = {}) {
    this.#client = new Client("sio4", url, {
      reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 200,
      transports: ["websocket"], ...options,
    });
    this.sockets = Array.from({ length: clients }, () =>
      this.#client.manager().manager.socket("/", { retries: 1_000, ackTimeout }));
  }

  async start() {
    await Promise.all(this.sockets.map((socket) => Client.up(socket)));
    for (const socket of this.sockets) {
      socket.on("connect", () => { this.returns += 1; });
      socket.on("connect_error", (error) => {
        // Of a poll that was answered: its status; of one that was not, the reason.
        this.failures.push([error.message, error.description].filter(Boolean).join(" "));
      });
    }
    this.work = Promise.all(this.sockets.map((socket, who) => this.#talk(socket, who)));
    this.work.catch(() => {});
  }

  async #talk(socket, who) {
    for (let n = 0; !this.over; n += 1) {
      const answer = await new Promise((done) => {
        socket.emit("message-with-ack", who, n, PADDING, (error, ...args) => done(error ?? args));
      });
      assert.deepEqual(answer, [who, n, PADDING], "the answer is to this question");
      this.acked += 1;
      this.#wake.splice(0).forEach((go) => go());
    }
  }

  /** So many more are acknowledged. */
  async more(count, ms = 30_000) {
    const wanted = this.acked + count;
    const reached = (async () => {
      while (this.acked < wanted) await new Promise((go) => this.#wake.push(go));
    })();
    await within(Promise.race([reached, this.work]), `${count} more answers`, ms).catch((error) => {
      throw new Error(`${error.message} (${this.acked - wanted + count} came)`);
    });
  }

  async stop() {
    this.over = true;
    await within(this.work, "the last answers", 30_000);
    this.#client.closeAll();
  }
}
