// A few official clients of every costly kind, over TLS, compressed and polling, that hear numbered
// events by REST. They break off in turns and are recovered; what one of them misses, hears twice or
// out of order ends it.

import assert from "node:assert/strict";
import { Fetch } from "engine.io-client";
import { Client, eventually, rest, succeeded } from "./lib.mjs";

const PADDING = "what is long enough to be compressed, ".repeat(50);
/** Events of a turn; the first ones are sent while one member is away. */
const BURST = 5;

/** Where and how each of them connects. */
const kinds = (server, ca) => [
  [server.url, { transports: ["websocket"], perMessageDeflate: { threshold: 0 } }],
  [server.tls, { transports: ["websocket"], perMessageDeflate: { threshold: 0 }, ca }],
  [server.tls, { transports: ["websocket"], perMessageDeflate: false, ca }],
  [server.tls, { transports: ["polling"], ca }],
  [server.tls, { transports: ["polling", "websocket"], ca }],
  // Fetch asks for gzip, which the other polls do not.
  [server.url, { transports: [Fetch] }],
];

export class Members {
  /** Events that were sent, and times that a member was recovered. */
  sent = 0;
  recovered = 0;

  constructor(server, ca) {
    this.server = server;
    this.members = kinds(server, ca).map(([url, options], n) => {
      const client = new Client("sio4", url, { ...options, reconnection: true, reconnectionDelay: 20 });
      const socket = client.socket("/", { auth: { userId: `member${n}`, sessionId: "members" } });
      const member = { client, socket, connects: 0, heard: 0, wrong: [] };
      socket.on("connect", () => { member.connects += 1; });
      socket.on("part", (number, padding) => {
        if (number !== member.heard || padding !== PADDING) member.wrong.push(`${number}, not ${member.heard}`);
        member.heard = number + 1;
      });
      return member;
    });
  }

  async start() {
    await Promise.all(this.members.map(({ socket }) => Client.up(socket)));
    this.work = this.#turns();
    this.work.catch(() => {});
  }

  async #turns() {
    for (let turn = 0; !this.over; turn += 1) {
      const member = this.members[turn % this.members.length];
      const { socket, connects } = member;
      const { id } = socket;
      socket.io.engine.close();
      for (let n = 0; n < BURST; n += 1) {
        const command = { to: { sessions: ["members"] }, event: "part", args: [this.sent, PADDING] };
        succeeded(await rest(this.server.admin, "POST", "/api/v1/emit", command));
        this.sent += 1;
      }
      await eventually(`all hear ${this.sent} events`, async () =>
        this.members.every(({ heard }) => heard === this.sent), 20_000);
      await eventually("it is back", async () => member.connects === connects + 1, 20_000);
      assert.deepEqual(this.members.flatMap(({ wrong }) => wrong), []);
      assert.deepEqual([socket.recovered, socket.id], [true, id], `kind ${turn % this.members.length}`);
      this.recovered += 1;
    }
  }

  /** They leave, for good. */
  async stop() {
    this.over = true;
    await this.work;
    for (const { client, socket } of this.members) {
      socket.disconnect();
      client.closeAll();
    }
  }
}
