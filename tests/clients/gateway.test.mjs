// The gateway as its clients see it: identity, the events with their checks and answers, rooms
// under rules, presence. REST has its own file.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import {
  ask, Client, collect, eventually, next, rest, silent, startServer, terminate, TEST_MS, upgraded,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const folder = mkdtempSync(join(tmpdir(), "corewire-clients-"));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
/** A server with this configuration file, and a client whose sockets end with their test. */
function gateway(toml = "", env = {}) {
  const here = {};
  before(async () => {
    const file = join(folder, `${(files += 1)}.toml`);
    writeFileSync(file, `cors_origin = ["*"]\n${toml}`);
    here.server = await startServer("corewire", ["--config", file], env);
    here.client = new Client("sio4", here.server.url);
    here.user = (userId, sessionId, options = {}) =>
      here.client.connect("/", { auth: { userId, sessionId }, ...options });
  });
  afterEach(() => here.client.closeAll());
  after(() => here.server.stop());
  return here;
}

/** Fails unless `answer` is a refusal of that code in the shape all refusals have. */
function refused(answer, ...codes) {
  assert.equal(answer.success, false, JSON.stringify(answer));
  assert.ok(codes.includes(answer.error.code), JSON.stringify(answer));
  assert.equal(typeof answer.error.message, "string");
  assert.equal(typeof answer.error.retryable, "boolean");
}

const request = (more = {}) => ({
  toolId: "tool1", message: "Hello AI!", requestId: "req123", sessionId: "s1", ...more,
});

describe("identity", () => {
  const at = gateway('namespaces = ["/tools"]');

  test("without a user nobody comes in", limit, async () => {
    for (const nsp of ["/", "/tools"]) {
      for (const auth of [undefined, {}, { sessionId: "s1" }, { userId: "" }]) {
        const { message, data } = await at.client.refusal(at.client.socket(nsp, { auth }));
        assert.equal(data.code, "AUTH_REQUIRED", `${nsp} ${JSON.stringify(auth)}`);
        assert.equal(message, "userId is required");
      }
    }
  });

  test("an unknown namespace is refused as such", limit, async () => {
    const socket = at.client.socket("/nowhere", { auth: { userId: "u" } });
    assert.equal((await at.client.refusal(socket)).message, "Invalid namespace");
  });

  test("ids that are too long or hold control characters are refused", limit, async () => {
    for (const auth of [
      { userId: "u".repeat(257) }, { userId: "a\nb" }, { userId: "u", sessionId: "s\u0000" },
      { userId: "u", sessionId: "ж".repeat(129) },
    ]) {
      const { data } = await at.client.refusal(at.client.socket("/", { auth }));
      assert.match(data.code, /^[A-Z_]+$/, JSON.stringify(auth));
    }
    assert.ok((await at.user("ж".repeat(128), "s".repeat(256))).connected);
  });

  test("the auth payload, else the query, names the user", limit, async () => {
    const byAuth = await at.user("by auth");
    const byQuery = await at.client.connect("/", { query: { userId: "by query" } });
    const both = await at.client.connect("/", {
      query: { userId: "loses" }, auth: { userId: "wins" },
    });
    assert.ok(byAuth.connected && byQuery.connected && both.connected);
    const connected = async (user) => {
      const path = `/socket/users/${encodeURIComponent(user)}/connected`;
      return (await rest(at.server.admin, "GET", path)).body.data;
    };
    for (const user of ["by auth", "by query", "wins"]) {
      assert.deepEqual(await connected(user), { userId: user, connected: true, sockets: 1 });
    }
    assert.deepEqual(await connected("loses"), { userId: "loses", connected: false, sockets: 0 });
  });

  test("each namespace asks anew", limit, async () => {
    const { socket } = at.client.manager();
    await Client.up(socket("/", { userId: "u" }));
    const refusal = await at.client.refusal(socket("/tools"));
    assert.equal(refusal.data.code, "AUTH_REQUIRED");
    const tools = await at.client.connect("/tools", { auth: { userId: "u" } });
    assert.ok(tools.connected);
  });
});

describe("ai_request", () => {
  const at = gateway();

  for (const [transport, options] of [
    ["polling", { transports: ["polling"] }], ["websocket", { transports: ["websocket"] }],
  ]) {
    test(`goes to the user's other sockets, ${transport}`, limit, async () => {
      const [sender, twin, stranger] = await Promise.all([
        at.user("ada", "s1", options), at.user("ada", "s2", options), at.user("eve", "s1", options),
      ]);
      await silent(sender, "ai_request", () => silent(stranger, "ai_request", async () => {
        const heard = next(twin, "ai_request");
        const sent = request({ extra: { list: [1, "ж", null] } });
        const [answer] = await ask(sender, "ai_request", sent);
        assert.deepEqual(answer, { success: true, status: "relayed", requestId: "req123" });
        assert.deepEqual(await heard, [{ ...sent, userId: "ada" }]);
        await Promise.all([sender, stranger].map((socket) => ask(socket, "ai_request", {})));
      }));
    });
  }

  test("what is not well formed is refused", limit, async () => {
    const socket = await at.user("ada", "s1");
    const bad = [
      [], [null], ["text"], [7], [[]], [{}], [Buffer.from("x")],
      ...["toolId", "message", "requestId", "sessionId"].map((name) => {
        const { [name]: _, ...rest } = request();
        return [rest];
      }),
      [request({ toolId: 7 })], [request({ message: null })], [request({ requestId: "" })],
      [request({ requestId: "r".repeat(10_000) })],
    ];
    for (const args of bad) {
      refused((await ask(socket, "ai_request", ...args))[0], "VALIDATION_FAILED");
    }
    assert.equal((await ask(socket, "ai_request", request()))[0].success, true);
  });

  test("nobody speaks for another user or session", limit, async () => {
    const [socket, victim] = await Promise.all([at.user("ada", "s1"), at.user("eve", "s9")]);
    await silent(victim, "ai_request", async () => {
      for (const foreign of [{ userId: "eve" }, { sessionId: "s9" }]) {
        refused((await ask(socket, "ai_request", request(foreign)))[0], "FORBIDDEN");
      }
      await ask(victim, "ai_request", {});
    });
    const own = request({ userId: "ada" });
    assert.equal((await ask(socket, "ai_request", own))[0].success, true);
  });

  test("without an acknowledgement a refusal is the event error", limit, async () => {
    const socket = await at.user("ada", "s1");
    for (const [payload, code] of [
      [{}, "VALIDATION_FAILED"], [request({ userId: "eve" }), "FORBIDDEN"],
    ]) {
      const heard = next(socket, "error");
      socket.emit("ai_request", payload);
      const [error] = await heard;
      assert.equal(error.code, code);
      assert.equal(typeof error.message, "string");
      assert.match(error.timestamp, RFC3339);
      assert.equal(error.userId, "ada");
      assert.equal(error.sessionId, "s1");
    }
  });
});

describe("the smaller events", () => {
  const at = gateway();

  test("ping is answered by pong", limit, async () => {
    const socket = await at.user("ada");
    const heard = next(socket, "pong");
    const before = Date.now();
    socket.emit("ping");
    const [{ timestamp }] = await heard;
    assert.ok(Number.isInteger(timestamp));
    assert.ok(timestamp >= before - 2 && timestamp <= Date.now() + 2, `${timestamp}`);
  });

  test("status_update goes to the session's other sockets", limit, async () => {
    const [sender, same, other] = await Promise.all([
      at.user("ada", "s1"), at.user("ada", "s1"), at.user("ada", "s2"),
    ]);
    await silent(sender, "status_update", () => silent(other, "status_update", async () => {
      const heard = next(same, "status_update");
      const update = { sessionId: "s1", status: "processing", progress: 42.5, message: "half" };
      const [answer] = await ask(sender, "status_update", update);
      assert.equal(answer.success, true);
      assert.deepEqual(await heard, [{ ...update, userId: "ada" }]);
      await Promise.all([sender, other].map((socket) => ask(socket, "ai_request", {})));
    }));
  });

  test("status_update is checked", limit, async () => {
    const socket = await at.user("ada", "s1");
    const update = { sessionId: "s1", userId: "ada", status: "completed" };
    for (const bad of [
      { status: "sleeping" }, { status: undefined }, { progress: 101 }, { progress: -1 },
      { progress: "50" }, { message: 7 }, { sessionId: 1 },
    ]) {
      const [answer] = await ask(socket, "status_update", { ...update, ...bad });
      refused(answer, "VALIDATION_FAILED");
    }
    for (const foreign of [{ userId: "eve" }, { sessionId: "s2" }]) {
      refused((await ask(socket, "status_update", { ...update, ...foreign }))[0], "FORBIDDEN");
    }
    for (const good of [{ progress: 0 }, { progress: 100 }, { status: "cancelled" }]) {
      const [answer] = await ask(socket, "status_update", { ...update, ...good });
      assert.equal(answer.success, true, JSON.stringify(good));
    }
  });

  test("an event nobody knows is refused, with and without acknowledgement", limit, async () => {
    const socket = await at.user("ada", "s1");
    refused((await ask(socket, "no:such:event", 1, Buffer.from("x")))[0], "UNKNOWN_EVENT");
    const heard = next(socket, "error");
    socket.emit("no:such:event");
    assert.equal((await heard)[0].code, "UNKNOWN_EVENT");
  });

  test("clients cannot send what only the server says", limit, async () => {
    const [socket, twin] = await Promise.all([at.user("ada", "s1"), at.user("ada", "s1")]);
    for (const event of ["notification", "ai_response", "connection", "disconnection"]) {
      await silent(twin, event, async () => {
        const [answer] = await ask(socket, event, { userId: "ada", requestId: "r" });
        assert.equal(answer.success, false, event);
        await ask(twin, "ai_request", {});
      });
    }
  });
});

describe("rooms without rules", () => {
  const at = gateway();

  test("joining and publishing are forbidden, leaving is not", limit, async () => {
    const socket = await at.user("ada");
    refused((await ask(socket, "room:join", { roomId: "r" }))[0], "FORBIDDEN");
    const message = { roomId: "r", event: "e", data: 1 };
    refused((await ask(socket, "room:message", message))[0], "FORBIDDEN");
    const heard = next(socket, "error");
    socket.emit("room:join", { roomId: "r" });
    assert.equal((await heard)[0].code, "FORBIDDEN");
  });
});

describe("rooms that are open", () => {
  const at = gateway("rooms_open = true");
  const join = async (socket, roomId) => {
    const [answer] = await ask(socket, "room:join", { roomId });
    assert.equal(answer.success, true, JSON.stringify(answer));
    assert.equal(answer.roomId, roomId);
    return answer.userCount;
  };

  test("join, message, leave, and users counted once", limit, async () => {
    const [ada, ada2, eve, out] = await Promise.all(
      ["ada", "ada", "eve", "out"].map((user) => at.user(user)),
    );
    assert.equal(await join(ada, "lobby"), 1);
    assert.equal(await join(ada2, "lobby"), 1);
    assert.equal(await join(eve, "lobby"), 2);
    assert.equal(await join(eve, "lobby"), 2);
    await silent(ada, "chat", () => silent(out, "chat", async () => {
      const heard = [next(ada2, "chat"), next(eve, "chat")];
      const data = { text: "ж", bytes: Buffer.from("123"), list: [null, 1.5] };
      const message = { roomId: "lobby", event: "chat", data };
      const [answer] = await ask(ada, "room:message", message);
      assert.equal(answer.success, true, JSON.stringify(answer));
      for (const args of await Promise.all(heard)) assert.deepEqual(args, [data]);
      await Promise.all([ada, out].map((socket) => ask(socket, "ai_request", {})));
    }));
    const [left] = await ask(eve, "room:leave", { roomId: "lobby" });
    assert.deepEqual(left, { success: true, roomId: "lobby", userCount: 1 });
    ada2.disconnect();
    await eventually("one socket in the room", async () => {
      const { body } = await rest(at.server.admin, "GET", "/socket/rooms");
      return body.data.find(({ id }) => id === "lobby")?.sockets === 1;
    });
  });

  test("rooms of users, sessions and sockets stay closed", limit, async () => {
    const [ada, eve] = await Promise.all([at.user("ada", "s1"), at.user("eve", "s2")]);
    for (const roomId of ["user:eve", "session:s2", "user:ada", eve.id]) {
      refused((await ask(ada, "room:join", { roomId }))[0], "FORBIDDEN");
      await silent(eve, "e", async () => {
        const [answer] = await ask(ada, "room:message", { roomId, event: "e", data: 1 });
        refused(answer, "FORBIDDEN");
        await ask(eve, "ai_request", {});
      });
    }
  });

  test("reserved and server events cannot be published", limit, async () => {
    const [ada, eve] = await Promise.all([at.user("ada"), at.user("eve")]);
    await join(ada, "r");
    await join(eve, "r");
    for (const event of [
      "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
      "ai_response", "status_update", "notification", "connection", "disconnection", "error",
      "pong",
    ]) {
      const [answer] = await ask(ada, "room:message", { roomId: "r", event, data: 1 });
      refused(answer, "FORBIDDEN", "VALIDATION_FAILED");
    }
    assert.ok(eve.connected);
  });

  test("payloads are checked", limit, async () => {
    const ada = await at.user("ada");
    for (const payload of [
      undefined, {}, { roomId: "" }, { roomId: 7 }, { roomId: "x".repeat(257) },
      { roomId: "a\u0001" },
    ]) {
      for (const event of ["room:join", "room:leave"]) {
        refused((await ask(ada, event, payload))[0], "VALIDATION_FAILED");
      }
    }
    for (const payload of [{ roomId: "r" }, { roomId: "r", event: "" }, { event: "e" }]) {
      refused((await ask(ada, "room:message", payload))[0], "VALIDATION_FAILED");
    }
  });

  test("many members on all cores hear each message once, in order", limit, async () => {
    const members = await Promise.all(Array.from({ length: 12 }, (_, i) => at.user(`m${i}`)));
    await Promise.all(members.map((socket) => join(socket, "crowd")));
    const each = 50;
    const heard = members.map((socket, at) => collect(socket, "n", each * (at < 2 ? 1 : 2)));
    for (let i = 0; i < each; i += 1) {
      for (const from of [0, 1]) {
        members[from].emit("room:message", { roomId: "crowd", event: "n", data: { from, i } });
      }
    }
    const numbers = Array.from({ length: each }, (_, i) => i);
    for (const [at, list] of (await Promise.all(heard)).entries()) {
      for (const from of [0, 1].filter((sender) => sender !== at)) {
        const order = list.filter(([n]) => n.from === from).map(([n]) => n.i);
        assert.deepEqual(order, numbers, `from ${from} to ${at}`);
      }
    }
  });
});

describe("rooms under rules", () => {
  const at = gateway(`
[[rules]]
users = ["ada", "staff-*"]
rooms = ["news"]
allow = ["join", "publish"]
[[rules]]
rooms = ["news", "public:*"]
allow = ["join"]
`);

  test("who may join and publish where", limit, async () => {
    const [ada, staff, guest] = await Promise.all(
      ["ada", "staff-7", "guest"].map((user) => at.user(user)),
    );
    for (const [socket, event, roomId, fine] of [
      [ada, "room:join", "news", true], [staff, "room:join", "news", true],
      [guest, "room:join", "news", true], [guest, "room:join", "public:x", true],
      [guest, "room:join", "private", false], [ada, "room:join", "private", false],
      [ada, "room:message", "news", true], [staff, "room:message", "news", true],
      [guest, "room:message", "news", false], [ada, "room:message", "public:x", false],
    ]) {
      const [answer] = await ask(socket, event, { roomId, event: "e", data: 1 });
      if (fine) assert.equal(answer.success, true, `${event} ${roomId} ${JSON.stringify(answer)}`);
      else refused(answer, "FORBIDDEN");
    }
  });
});

describe("presence", () => {
  const at = gateway(
    'rooms_open = true\npresence_events = true\npresence_rooms = ["watchers"]',
  );

  test("a user's first and last socket are announced, the others not", limit, async () => {
    const watcher = await at.user("watcher");
    assert.equal((await ask(watcher, "room:join", { roomId: "watchers" }))[0].success, true);
    const came = [];
    const went = [];
    watcher.on("connection", (who) => came.push(who));
    watcher.on("disconnection", (who) => went.push(who));
    const sockets = async () =>
      (await rest(at.server.admin, "GET", "/socket/users/ada/connected")).body.data.sockets;
    const first = await at.user("ada", "s1");
    await eventually("the first is announced", async () => came.length === 1);
    const second = await at.user("ada", "s2");
    await eventually("both are counted", async () => (await sockets()) === 2);
    first.disconnect();
    await eventually("one is left", async () => (await sockets()) === 1);
    assert.deepEqual(went, []);
    second.disconnect();
    await eventually("the last is announced", async () => went.length === 1);
    assert.equal(await sockets(), 0);
    assert.deepEqual(came.map(({ userId }) => userId), ["ada"]);
    assert.deepEqual(went.map(({ userId }) => userId), ["ada"]);
    assert.equal(typeof went[0].reason, "string");
  });
});

describe("the old variables", () => {
  const at = gateway("", {
    SOCKET_PING_INTERVAL: "12345", SOCKET_PING_TIMEOUT: "23456",
    COREWIRE_PING_TIMEOUT: "34567",
  });

  test("are honoured, and the new names win over them", limit, async () => {
    const { text } = await rest(at.server.url, "GET", "/socket.io/?EIO=4&transport=polling");
    const handshake = JSON.parse(text.slice(1));
    assert.equal(handshake.pingInterval, 12_345);
    assert.equal(handshake.pingTimeout, 34_567);
  });
});

describe("the end", () => {
  test("SIGTERM lets every client go and exits with 0", limit, async () => {
    const server = await startServer("corewire");
    const client = new Client("sio4", server.url);
    const sockets = await Promise.all(
      Array.from({ length: 10 }, (_, i) => client.connect("/", { auth: { userId: `u${i}` } })),
    );
    await Promise.all(sockets.map(upgraded));
    const gone = sockets.map((socket) => next(socket, "disconnect", 20_000));
    assert.equal(await terminate(server), 0);
    for (const [reason] of await Promise.all(gone)) {
      // Not "io server disconnect": a client must come back by itself.
      assert.match(reason, /^transport (close|error)$/);
    }
    client.closeAll();
  });
});
