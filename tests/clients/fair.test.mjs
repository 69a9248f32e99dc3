// Fair use as a client meets it: a named refusal first, the end only for who goes on; limits of
// users and addresses; the operator's own events under rules of the configuration.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ask, Client, eventually, metric, next, startServer, TEST_MS, within } from "./lib.mjs";

const limit = { timeout: TEST_MS };
const folder = mkdtempSync(join(tmpdir(), "corewire-fair-"));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
/** Runs a test against a server with this configuration. */
async function against(toml, run) {
  const file = join(folder, `${(files += 1)}.toml`);
  writeFileSync(file, `cors_origin = ["*"]\n${toml}`);
  const server = await startServer("corewire", ["--config", file]);
  const client = new Client("sio4", server.url);
  const user = (userId) => client.connect("/", { auth: { userId } });
  try {
    await run({ server, client, user });
  } finally {
    client.closeAll();
    await server.stop();
  }
}

describe("events", () => {
  test("too many are refused by name, and taken again later", limit, () =>
    against("socket_events_per_s = 5\nsocket_events_burst = 2", async ({ server, user }) => {
      const socket = await user("alice");
      await ask(socket, "ping");
      await ask(socket, "ping");
      const [refused] = await ask(socket, "ping");
      assert.deepEqual(Object.keys(refused.error), ["code", "message", "retryable", "retryAfterMs"]);
      assert.equal(refused.error.code, "RATE_LIMITED");
      assert.ok(refused.error.retryAfterMs > 0 && refused.error.retryAfterMs <= 200);
      // Without an acknowledgement the refusal is an event.
      const told = next(socket, "error");
      socket.emit("ping");
      assert.equal((await told)[0].code, "RATE_LIMITED");
      await eventually("events are taken again", async () =>
        (await ask(socket, "ping"))[0].success);
      await eventually("it is counted", async () =>
        (await metric(server, "corewire_events_limited_total")) >= 2);
    }));

  test("who goes on regardless is disconnected for good", limit, () =>
    against("socket_events_per_s = 1\nabuse_refusals_per_min = 5", async ({ server, user }) => {
      const socket = await user("alice");
      const gone = next(socket, "disconnect");
      for (let at = 0; at < 20; at += 1) socket.emit("ping");
      assert.equal((await gone)[0], "io server disconnect");
      assert.equal(socket.active, false, "it does not come back by itself");
      await eventually("it is counted", async () =>
        (await metric(server, "corewire_abusers_expelled_total")) === 1);
    }));

  test("the operator's own are judged by the configuration", limit, () =>
    against(
      `
      [[events]]
      name = "order:new"
      required = ["id"]
      members = { id = "name", kind = ["small", "large"] }
      payload_bytes_max = 200
      `,
      async ({ user }) => {
        const socket = await user("alice");
        const code = async (payload) => (await ask(socket, "order:new", payload))[0].error.code;
        assert.equal(await code({}), "VALIDATION_FAILED");
        assert.equal(await code({ id: "1", kind: "huge" }), "VALIDATION_FAILED");
        assert.equal(await code({ id: "1", note: "x".repeat(200) }), "PAYLOAD_TOO_LARGE");
        assert.equal(await code({ id: "1", kind: "small" }), "UNKNOWN_EVENT", "no route takes it");
      },
    ));
});

describe("connections", () => {
  test("a user has so many sockets", limit, () =>
    against("user_sockets_max = 1", async ({ client, user }) => {
      const first = await user("alice");
      const second = client.socket("/", { auth: { userId: "alice" } });
      const { data } = await client.refusal(second);
      assert.deepEqual(data, { code: "TOO_MANY_CONNECTIONS", retryable: true });
      first.disconnect();
      await eventually("there is room again", () => user("alice"));
    }));

  test("an address has so many connections, and begins so many sessions", limit, () =>
    against(
      "address_conns_max = 4\naddress_handshakes_per_s = 1\naddress_handshakes_burst = 3",
      async ({ server }) => {
        const handshake = `${server.url}/socket.io/?EIO=4&transport=polling`;
        const statuses = [];
        for (let at = 0; at < 4; at += 1) {
          const answer = await fetch(handshake, { headers: { connection: "close" } });
          statuses.push(answer.status);
          if (answer.status === 429) assert.ok(Number(answer.headers.get("retry-after")) >= 1);
          await answer.text();
        }
        assert.deepEqual(statuses, [200, 200, 200, 429]);
        const { hostname, port } = new URL(server.url);
        const held = [];
        for (let at = 0; at < 4; at += 1) {
          const socket = connect(Number(port), hostname);
          await once(socket, "connect");
          held.push(socket);
        }
        // The kernel has accepted each; the server closes those beyond the limit, and which are
        // those is for the workers to find out. How many fetch still holds is its own business.
        for (let at = 0; at < 4; at += 1) held.push(connect(Number(port), hostname));
        let closed = 0;
        held.forEach((socket) => socket.on("error", () => {}).once("close", () => (closed += 1)));
        await eventually("the server closes what is too many", async () => closed >= 4);
        held.forEach((socket) => socket.destroy());
      },
    ));
});
