// The REST API and the operator's pages over HTTP as a back end sees them, with real clients at
// the other end. Keys and scopes have their own file.

import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import {
  ask, Client, eventually, failed, next, rest, startServer, succeeded, TEST_MS, within, WORKERS,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe("REST without a key", () => {
  let server;
  let client;
  const call = (method, path, body, headers) => rest(server.admin, method, path, body, headers);
  const user = (userId, sessionId) => client.connect("/", { auth: { userId, sessionId } });

  before(async () => {
    server = await startServer("corewire", ["--cors-origin", "*"]);
    client = new Client("sio4", server.url);
  });
  afterEach(async () => {
    client.closeAll();
    await eventually("the test's clients are gone", async () => {
      return succeeded(await call("GET", "/socket/users")).length === 0;
    });
  });
  after(() => server.stop());

  test("health and readiness, on both listeners", limit, async () => {
    for (const base of [server.url, server.admin]) {
      assert.equal((await rest(base, "GET", "/healthz")).status, 200);
      assert.equal((await rest(base, "GET", "/readyz")).status, 200);
      const health = succeeded(await rest(base, "GET", "/socket/health"));
      assert.equal(health.status, "healthy");
    }
    const health = succeeded(await call("GET", "/socket/health"));
    for (const name of ["uptime", "memoryUsage", "cpuUsage", "activeConnections"]) {
      assert.ok(health[name] >= 0, `${name}: ${health[name]}`);
    }
    assert.ok(health.memoryUsage > 1 << 20);
    assert.ok("lastHeartbeat" in health);
    assert.equal(health.workers.length, Number(WORKERS));
  });

  test("statistics follow the traffic", limit, async () => {
    const before = succeeded(await call("GET", "/socket/stats"));
    const sockets = await Promise.all([user("ada"), user("eve")]);
    for (let i = 0; i < 10; i += 1) await ask(sockets[0], "ai_request", {});
    const data = await eventually("connections and events are counted", async () => {
      const now = succeeded(await call("GET", "/socket/stats"));
      const more = now.totalConnections >= before.totalConnections + 2;
      return more && now.totalEvents >= before.totalEvents + 10 && now;
    });
    assert.equal(data.activeConnections, 2);
    for (const name of ["eventsPerMinute", "averageLatency"]) {
      assert.equal(typeof data[name], "number", name);
    }
    for (const name of ["rooms", "latency"]) assert.equal(typeof data[name], "object", name);
    assert.equal(data.workers.length, Number(WORKERS));
  });

  test("users: one entry a socket, by user, in pages", limit, async () => {
    await Promise.all([user("ada", "s1"), user("ada", "s2"), user("eve")]);
    const all = succeeded(await call("GET", "/socket/users"));
    assert.deepEqual(all.map(({ id }) => id).sort(), ["ada", "ada", "eve"]);
    const ada = succeeded(await call("GET", "/socket/users?userId=ada"));
    assert.deepEqual(ada.map(({ sessionId }) => sessionId).sort(), ["s1", "s2"]);
    for (const { id, socketId, connectedAt, lastActivity } of ada) {
      assert.equal(id, "ada");
      assert.ok(socketId.length >= 20);
      assert.match(connectedAt, RFC3339);
      assert.match(lastActivity, RFC3339);
    }
    const seen = [];
    let cursor = "";
    do {
      const page = await call("GET", `/socket/users?limit=1${cursor}`);
      const data = succeeded(page);
      assert.ok(data.length <= 1);
      seen.push(...data.map(({ socketId }) => socketId));
      assert.ok("nextCursor" in page.body);
      const { nextCursor } = page.body;
      cursor = nextCursor && `&cursor=${encodeURIComponent(nextCursor)}`;
      assert.ok(seen.length < 10);
    } while (cursor);
    assert.deepEqual(seen.sort(), all.map(({ socketId }) => socketId).sort());
  });

  test("whether a user is connected, with any name", limit, async () => {
    const name = "ada / ж?#%";
    const connected = async () =>
      succeeded(await call("GET", `/socket/users/${encodeURIComponent(name)}/connected`));
    assert.deepEqual(await connected(), { userId: name, connected: false, sockets: 0 });
    const [one] = await Promise.all([user(name), user(name)]);
    assert.deepEqual(await connected(), { userId: name, connected: true, sockets: 2 });
    one.disconnect();
    await eventually("one is left", async () => (await connected()).sockets === 1);
  });

  test("a room's life", limit, async () => {
    const sockets = await Promise.all([user("ada"), user("ada"), user("eve")]);
    const room = { roomId: "lobby", name: "The Lobby" };
    const made = succeeded(await call("POST", "/socket/rooms", room), 201);
    assert.equal(made.id, "lobby");
    assert.equal(made.name, "The Lobby");
    assert.equal(made.userCount, 0);
    assert.match(made.createdAt, RFC3339);
    assert.match(made.lastActivity, RFC3339);

    const joining = { userId: "ada", roomId: "lobby" };
    const joined = succeeded(await call("POST", "/socket/rooms/join", joining));
    assert.deepEqual(joined, { ...joining, sockets: 2 });
    const eve = { userId: "eve", roomId: "lobby" };
    assert.equal(succeeded(await call("POST", "/socket/rooms/join", eve)).sockets, 1);

    const again = succeeded(await call("POST", "/socket/rooms", room), 200);
    assert.equal(again.userCount, 2);
    const listed = succeeded(await call("GET", "/socket/rooms"));
    const lobby = listed.find(({ id }) => id === "lobby");
    assert.equal(lobby.userCount, 2);
    assert.equal(lobby.sockets, 3);
    assert.equal(lobby.name, "The Lobby");

    const heard = sockets.map((socket) => next(socket, "news"));
    const data = { deep: [1, "ж", null, { x: 0.5 }] };
    const message = { roomId: "lobby", event: "news", data };
    assert.deepEqual(
      succeeded(await call("POST", "/socket/rooms/message", message)), { recipients: 3 },
    );
    for (const args of await Promise.all(heard)) assert.deepEqual(args, [data]);

    const left = succeeded(await call("POST", "/socket/rooms/leave", joining));
    assert.deepEqual(left, { ...joining, sockets: 2 });
    assert.deepEqual(
      succeeded(await call("POST", "/socket/rooms/message", message)), { recipients: 1 },
    );
    assert.equal(succeeded(await call("POST", "/socket/rooms/leave", joining)).sockets, 0);
    assert.equal(succeeded(await call("POST", "/socket/rooms/leave", eve)).sockets, 1);
    assert.deepEqual(
      succeeded(await call("POST", "/socket/rooms/message", message)), { recipients: 0 },
    );
    const after = succeeded(await call("GET", "/socket/rooms"));
    assert.equal(after.find(({ id }) => id === "lobby").userCount, 0);
  });

  test("a room message without data, and one a room never heard of", limit, async () => {
    const socket = await user("ada");
    await call("POST", "/socket/rooms/join", { userId: "ada", roomId: "quiet" });
    const heard = next(socket, "knock");
    const knock = { roomId: "quiet", event: "knock" };
    assert.equal(succeeded(await call("POST", "/socket/rooms/message", knock)).recipients, 1);
    await heard;
    const nowhere = { roomId: "nowhere", event: "e", data: 1 };
    assert.equal(succeeded(await call("POST", "/socket/rooms/message", nowhere)).recipients, 0);
  });

  test("joining somebody who is not there", limit, async () => {
    const body = { userId: "nobody", roomId: "lobby" };
    failed(await call("POST", "/socket/rooms/join", body), 404, "USER_NOT_CONNECTED");
    assert.equal(succeeded(await call("POST", "/socket/rooms/leave", body)).sockets, 0);
  });

  test("a notification reaches all sockets of its user, exactly as it came", limit, async () => {
    const sockets = await Promise.all([user("ada"), user("ada"), user("eve")]);
    const note = {
      userId: "ada", type: "success", title: "Done ж", message: "It is done",
      data: { n: 1.25, list: [] }, priority: "high",
    };
    const heard = sockets.slice(0, 2).map((socket) => next(socket, "notification"));
    const stray = [];
    sockets[2].on("notification", (note) => stray.push(note));
    assert.deepEqual(
      succeeded(await call("POST", "/socket/notifications", note)), { recipients: 2 },
    );
    for (const [got] of await Promise.all(heard)) assert.deepEqual(got, note);
    await ask(sockets[2], "ai_request", {});
    assert.deepEqual(stray, []);
    const nobody = { ...note, userId: "nobody" };
    assert.equal(succeeded(await call("POST", "/socket/notifications", nobody)).recipients, 0);
  });

  test("rooms in pages; the automatic ones only on demand", limit, async () => {
    await user("ada", "s1");
    const names = Array.from({ length: 25 }, (_, i) => `page-${i}`);
    for (const roomId of names) await call("POST", "/socket/rooms", { roomId, name: roomId });
    const seen = [];
    let cursor = "";
    let pages = 0;
    do {
      const page = await call("GET", `/socket/rooms?limit=10${cursor}`);
      const data = succeeded(page);
      assert.ok(data.length <= 10);
      seen.push(...data.map(({ id }) => id));
      const { nextCursor } = page.body;
      assert.ok(nextCursor === null || typeof nextCursor === "string");
      cursor = nextCursor && `&cursor=${encodeURIComponent(nextCursor)}`;
      assert.ok((pages += 1) < 20);
    } while (cursor);
    assert.equal(new Set(seen).size, seen.length, "no room twice");
    assert.deepEqual(names.filter((name) => !seen.includes(name)), []);
    assert.deepEqual(seen.filter((id) => /^(user|session):/.test(id)), []);
    const all = succeeded(await call("GET", "/socket/rooms?auto=true")).map(({ id }) => id);
    assert.ok(all.includes("user:ada") && all.includes("session:s1"), JSON.stringify(all));
  });

  test("bad paging is a failed check", limit, async () => {
    for (const query of ["limit=0", "limit=-1", "limit=abc", "cursor=%00nonsense"]) {
      failed(await call("GET", `/socket/rooms?${query}`), 422, "VALIDATION_FAILED");
    }
  });

  test("malformed JSON names its line and column", limit, async () => {
    const error = failed(
      await call("POST", "/socket/rooms", '{\n  "roomId": "a",\n  "name": }'), 400, "INVALID_JSON",
    );
    assert.equal(error.details.line, 3);
    assert.ok(error.details.column >= 10 && error.details.column <= 12, error.details.column);
    failed(await call("POST", "/socket/rooms", ""), 400, "INVALID_JSON");
  });

  test("a failed check names every member", limit, async () => {
    const id = "x".repeat(257);
    for (const [path, body, ...members] of [
      ["/socket/rooms", {}, "roomId", "name"],
      ["/socket/rooms", { roomId: id, name: 7 }, "roomId", "name"],
      ["/socket/rooms", { roomId: "a\u0007b", name: "n" }, "roomId"],
      ["/socket/rooms/join", { userId: "", roomId: "" }, "userId", "roomId"],
      ["/socket/rooms/leave", { userId: 1 }, "userId", "roomId"],
      ["/socket/notifications", { userId: "u", type: "loud" }, "type", "title", "message"],
      ["/socket/notifications", { type: "info", title: 1, message: "m" }, "userId", "title"],
      ["/socket/rooms/message", { roomId: "r" }, "event"],
      ["/socket/rooms/message", { roomId: "r", event: "disconnect" }, "event"],
      ["/socket/rooms/message", { roomId: "r", event: "connect_error" }, "event"],
    ]) {
      const error = failed(await call("POST", path, body), 422, "VALIDATION_FAILED");
      const details = JSON.stringify(error.details);
      for (const name of members) assert.ok(details.includes(name), `${name} in ${details}`);
    }
    for (const body of ["[]", "null", '"text"', "7"]) {
      failed(await call("POST", "/socket/rooms", body), 422, "VALIDATION_FAILED");
    }
  });

  test("what the back end may publish that a client may not", limit, async () => {
    const socket = await user("ada");
    const heard = next(socket, "ai_response");
    const body = { roomId: "user:ada", event: "ai_response", data: { requestId: "r" } };
    assert.equal(succeeded(await call("POST", "/socket/rooms/message", body)).recipients, 1);
    assert.deepEqual(await heard, [{ requestId: "r" }]);
  });

  test("paths, methods and media types", limit, async () => {
    failed(await call("GET", "/socket/nothing"), 404, "NOT_FOUND");
    for (const [method, path, ...allowed] of [
      ["DELETE", "/socket/rooms", "GET", "POST"], ["PUT", "/socket/rooms/join", "POST"],
      ["POST", "/socket/stats", "GET"], ["GET", "/socket/notifications", "POST"],
    ]) {
      const answer = await call(method, path, method === "GET" ? undefined : {});
      failed(answer, 405, "METHOD_NOT_ALLOWED");
      for (const name of allowed) assert.ok(answer.headers.get("allow")?.includes(name), path);
    }
    const text = { "content-type": "text/plain" };
    for (const path of ["/socket/rooms", "/socket/notifications", "/socket/rooms/message"]) {
      failed(await call("POST", path, "{}", text), 415, "UNSUPPORTED_MEDIA_TYPE");
    }
    const charset = { "content-type": "application/json; charset=utf-8" };
    const body = JSON.stringify({ roomId: "charset", name: "n" });
    succeeded(await call("POST", "/socket/rooms", body, charset), 201);
  });

  test("a body over the limit", limit, async () => {
    const { hostname, port } = new URL(server.admin);
    const socket = connect(Number(port), hostname);
    socket.on("error", () => {});
    let answer = "";
    const done = new Promise((end) => {
      socket.on("data", (data) => {
        answer += data;
        if (answer.includes("PAYLOAD_TOO_LARGE")) end();
      });
      socket.on("close", end);
    });
    socket.write(
      `POST /socket/notifications HTTP/1.1\r\nHost: ${hostname}:${port}\r\n` +
        "Content-Type: application/json\r\nContent-Length: 52428800\r\n\r\n",
    );
    socket.write(" ".repeat(1 << 20));
    await within(done, "an answer to the large body");
    socket.destroy();
    assert.match(answer, /^HTTP\/1\.1 413 /);
    assert.match(answer, /"code":\s*"PAYLOAD_TOO_LARGE"/);
  });

  test("a foreign page, a proxy or a false name is nobody on this machine", limit, async () => {
    const { hostname, port } = new URL(server.admin);
    for (const headers of [
      { host: "evil.example" }, { origin: "http://evil.example" }, { via: "1.1 proxy" },
      { "x-forwarded-for": "10.0.0.1" }, { "x-forwarded-host": "localhost" },
      { forwarded: "for=10.0.0.1" },
    ]) {
      const answer = new Promise((done, fail) => {
        request({ hostname, port, path: "/socket/users", headers }, done).on("error", fail).end();
      });
      const response = await within(answer, JSON.stringify(headers));
      response.resume();
      assert.ok([401, 403].includes(response.statusCode), JSON.stringify(headers));
      assert.equal(response.headers["access-control-allow-origin"], undefined);
    }
  });

  test("the public listener demands a key even where there is none", limit, async () => {
    for (const [method, path, body] of [
      ["GET", "/socket/users"], ["GET", "/socket/stats"], ["GET", "/socket/latency"],
      ["POST", "/socket/rooms", { roomId: "r", name: "n" }],
    ]) {
      failed(await rest(server.url, method, path, body), 401, "UNAUTHORIZED");
    }
    const guess = { authorization: "Bearer guess" };
    const answer = await rest(server.url, "GET", "/socket/users", undefined, guess);
    failed(answer, 401, "UNAUTHORIZED");
  });

  test("latency as numbers and as the table of HdrHistogram", limit, async () => {
    const socket = await user("ada");
    for (let i = 0; i < 20; i += 1) await ask(socket, "ai_request", {});
    const histograms = (value, found = []) => {
      if (value && typeof value === "object") {
        if ("p50" in value) found.push(value);
        else Object.values(value).forEach((item) => histograms(item, found));
      }
      return found;
    };
    const full = await eventually("a histogram has counted the events", async () => {
      const data = succeeded(await call("GET", "/socket/latency"));
      const found = histograms(data);
      assert.ok(found.length >= 3, JSON.stringify(data));
      return found.find(({ count }) => count >= 20);
    });
    for (const name of ["count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"]) {
      assert.equal(typeof full[name], "number", `${name} of ${JSON.stringify(full)}`);
    }
    assert.ok(full.min <= full.p50 && full.p50 <= full.p99 && full.p99 <= full.max);
    const table = await call("GET", "/socket/latency?format=hgrm");
    assert.equal(table.status, 200);
    assert.match(table.headers.get("content-type"), /^text\/plain/);
    assert.match(table.text, /Value\s+Percentile\s+TotalCount/);
  });

  test("metrics for Prometheus name no user", limit, async () => {
    await user("very-secret-user", "very-secret-session");
    const { status, text, headers } = await call("GET", "/metrics");
    assert.equal(status, 200);
    assert.match(headers.get("content-type"), /^(text\/plain|application\/openmetrics-text)/);
    assert.match(text, /^# TYPE corewire_\w+ (counter|gauge|histogram)$/m);
    assert.doesNotMatch(text, / summary$/m);
    assert.match(text, /_bucket\{.*le="\+Inf"/);
    assert.doesNotMatch(text, /very-secret/);
    for (const line of text.trim().split("\n")) {
      assert.match(line, /^(#|[a-zA-Z_:][\w:]*(\{.*\})? -?[\d.+eEInfNa]+( \d+)?( # .*)?$)/, line);
    }
  });

  test("the OpenAPI document knows every call", limit, async () => {
    const { status, body } = await call("GET", "/openapi.json");
    assert.equal(status, 200);
    assert.match(body.openapi, /^3\./);
    for (const path of [
      "/socket/health", "/socket/stats", "/socket/users", "/socket/rooms", "/socket/rooms/join",
      "/socket/rooms/leave", "/socket/rooms/message", "/socket/notifications", "/socket/latency",
    ]) {
      assert.ok(body.paths[path], path);
    }
  });
});
