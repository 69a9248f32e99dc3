// Who may: API keys and their scopes on both listeners, foreign pages, and what everybody may
// read: the browser client's files.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { failed, rest, startServer, succeeded, TEST_MS, within, WORKERS } from "./lib.mjs";

const limit = { timeout: TEST_MS };

describe("REST with keys", () => {
  const folder = mkdtempSync(join(tmpdir(), "corewire-rest-"));
  let server;
  before(async () => {
    const file = join(folder, "corewire.toml");
    writeFileSync(file, `
admin_cors_origin = ["http://panel.example"]
[[api_keys]]
name = "reader"
key = "reader-key-0123456789abcdef"
scopes = ["read"]
[[api_keys]]
name = "emitter"
key = "emitter-key-0123456789abcdef"
scopes = ["emit"]
`);
    const env = { COREWIRE_API_KEY: "master-key-0123456789abcdef" };
    server = await startServer("corewire", ["--config", file], env);
  });
  after(() => server.stop());
  after(() => rmSync(folder, { recursive: true }));

  const bearer = (name) => ({ authorization: `Bearer ${name}-key-0123456789abcdef` });
  const header = (name) => ({ "x-api-key": `${name}-key-0123456789abcdef` });
  const room = { roomId: "r", name: "n" };

  for (const listener of ["url", "admin"]) {
    const name = listener === "url" ? "public" : "admin";
    test(`who may what on the ${name} listener`, limit, async () => {
      const call = (...args) => rest(server[listener], ...args);
      failed(await call("GET", "/socket/users"), 401, "UNAUTHORIZED");
      failed(await call("POST", "/socket/rooms", room), 401, "UNAUTHORIZED");
      for (const wrong of [
        bearer("no-such"), { authorization: "Bearer " }, { authorization: "Basic cmVhZGVy" },
        { "x-api-key": "" },
      ]) {
        failed(await call("GET", "/socket/users", undefined, wrong), 401, "UNAUTHORIZED");
      }
      for (const key of [bearer, header]) {
        succeeded(await call("GET", "/socket/users", undefined, key("reader")));
        failed(await call("POST", "/socket/rooms", room, key("reader")), 403, "FORBIDDEN");
        failed(await call("GET", "/socket/users", undefined, key("emitter")), 403, "FORBIDDEN");
        const made = await call("POST", "/socket/rooms", room, key("emitter"));
        assert.ok([200, 201].includes(made.status));
        succeeded(await call("GET", "/socket/stats", undefined, key("master")));
        assert.equal((await call("POST", "/socket/rooms", room, key("master"))).status, 200);
      }
      assert.equal((await call("GET", "/healthz")).status, 200);
      const health = succeeded(await call("GET", "/socket/health"));
      assert.equal(health.status, "healthy");
      assert.equal(health.workers, undefined, "details are for those who may");
      const full = succeeded(await call("GET", "/socket/health", undefined, bearer("reader")));
      assert.equal(full.workers.length, Number(WORKERS));
    });
  }

  test("a panel from the configured origin may read, no other", limit, async () => {
    const from = async (origin) => {
      const headers = { ...bearer("reader"), origin };
      return (await rest(server.admin, "GET", "/socket/users", undefined, headers)).headers;
    };
    const allowed = "access-control-allow-origin";
    assert.equal((await from("http://panel.example")).get(allowed), "http://panel.example");
    assert.notEqual((await from("http://evil.example")).get(allowed), "http://evil.example");
  });

  test("many calls on one connection to the public listener, in order", limit, async () => {
    const { hostname, port } = new URL(server.url);
    const socket = connect(Number(port), hostname);
    let answer = "";
    const ids = Array.from({ length: 20 }, (_, i) => `pipelined-${i}`);
    const done = new Promise((end) => {
      socket.on("data", (data) => {
        answer += data;
        if (answer.includes(`"${ids.at(-1)}"`)) end();
      });
      socket.on("close", end);
    });
    for (const id of ids) {
      socket.write(
        `GET /socket/users/${id}/connected HTTP/1.1\r\nHost: x\r\n` +
          "X-API-Key: reader-key-0123456789abcdef\r\n\r\n",
      );
    }
    await within(done, "the last of the answers");
    socket.destroy();
    assert.deepEqual([...new Set(answer.match(/pipelined-\d+/g))], ids);
    assert.equal(answer.match(/HTTP\/1\.1 200/g).length, ids.length);
  });
});

describe("the client bundle", () => {
  let server;
  before(async () => {
    server = await startServer("corewire", ["--cors-origin", "*"]);
  });
  after(() => server.stop());

  for (const file of [
    "socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js",
  ]) {
    test(file, limit, async () => {
      const path = `/socket.io/${file}`;
      const get = (headers = {}) => rest(server.url, "GET", path, undefined, headers);
      const { status, text, headers } = await get();
      assert.equal(status, 200);
      assert.match(headers.get("content-type"), /^application\/javascript; charset=utf-8$/);
      assert.match(headers.get("cache-control"), /max-age=0/);
      assert.equal(headers.get("access-control-allow-origin"), "*");
      assert.ok(text.length > 30_000 && text.includes("Socket.IO"));
      const etag = headers.get("etag");
      assert.match(etag, /^"4\.8\.\d+"$/);
      for (const known of [etag, `W/${etag}`]) {
        const again = await get({ "if-none-match": known });
        assert.equal(again.status, 304);
        assert.equal(again.text, "");
      }
      assert.equal((await rest(server.url, "GET", `${path}?v=1`)).status, 200);
    });
  }

  test("a map, and a file that is not there", limit, async () => {
    const map = await rest(server.url, "GET", "/socket.io/socket.io.min.js.map");
    assert.equal(map.status, 200);
    assert.match(map.headers.get("content-type"), /^application\/json/);
    assert.equal(map.body.version, 3);
    assert.equal((await rest(server.url, "GET", "/socket.io/nothing.js")).status, 400);
  });
});
