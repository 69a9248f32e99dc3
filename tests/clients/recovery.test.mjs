// Connection state recovery with the official client: what it missed, its id and its rooms, over
// every transport, however often and wherever it comes back; and whoever must not get them.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import msgpack from "socket.io-msgpack-parser";
import {
  ask, Client, collect, CONFORMANCE_FLAGS, eventually, metric, next, plain, rest, silent,
  startServer, TEST_MS, TRANSPORTS, upgraded,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
let server;
const clients = [];

before(async () => {
  server = await startServer("conformance", [...CONFORMANCE_FLAGS, "--recovery"]);
});
afterEach(() => clients.splice(0).forEach((client) => client.closeAll()));
after(() => server.stop());

function client(options = {}, url = server.url) {
  const made = new Client("sio4", url, options);
  clients.push(made);
  return made;
}

/** The connection breaks; the client knows at once. */
async function breakOff(socket) {
  const gone = next(socket, "disconnect");
  socket.io.engine.close();
  assert.equal((await gone)[0], "forced close");
}

const saved = (of = server) => metric(of, "corewire_recovery_saved");

/** Breaks off and waits until the server knows. */
async function away(socket) {
  const before = await saved();
  await breakOff(socket);
  await eventually("the session is kept", async () => (await saved()) > before);
}

for (const [name, options] of [
  ...Object.entries(TRANSPORTS),
  ["msgpack", { transports: ["websocket"], parser: msgpack }],
]) {
  test(`${name}: id, rooms and what was missed, in order, again and again`, limit, async () => {
    const socket = await client(options).connect();
    const other = await client({ transports: ["websocket"] }).connect();
    if (name === "polling then upgrade") await upgraded(socket);
    assert.equal(socket.recovered, false);
    const { sid } = socket.id && (await ask(socket, "whoami"))[0];
    await ask(socket, "join", "inside");
    for (const round of [1, 2, 3]) {
      await away(socket);
      await ask(other, "room-emit", "inside", "said", round, "one");
      await ask(other, "room-emit", "elsewhere", "said", round, "not for it");
      await ask(other, "room-emit", sid, "said", round, Buffer.from([round]));
      await ask(other, "broadcast", "said", round, "three");
      const missed = collect(socket, "said", 3);
      await Client.up(socket);
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, sid);
      // What an application's handler sees has the offset behind it, as in Node.
      const said = (await missed).map((args) => plain(args).slice(0, 2));
      assert.deepEqual(said, plain([[round, "one"], [round, Buffer.from([round])], [round, "three"]]));
      const [who] = await ask(socket, "whoami");
      assert.deepEqual([who.sid, who.recovered, who.rooms], [sid, true, [sid, "inside"]]);
      // It is a member as before, and gets nothing twice.
      const live = next(socket, "said");
      await ask(other, "room-emit", "inside", "said", round, "live");
      assert.deepEqual((await live).slice(0, 2), [round, "live"]);
    }
  });
}

test("a client that has heard nothing yet", limit, async () => {
  const [socket, other] = [await client().connect("/custom"), await client().connect()];
  await away(socket);
  const again = await Client.up(socket);
  assert.equal(again.recovered, true);
  other.close();
});

test("volatile events that end with a word do no harm", limit, async () => {
  const socket = await client({ transports: ["websocket"] }).connect();
  const other = await client({ transports: ["websocket"] }).connect();
  await ask(socket, "join", "r");
  const heard = next(socket, "v");
  await ask(other, "room-emit", "r", "v", "a word at the end");
  assert.equal((await heard)[0], "a word at the end");
  await away(socket);
  await ask(other, "room-emit", "r", "said", "while it was away");
  const missed = next(socket, "said");
  await Client.up(socket);
  assert.equal(socket.recovered, true);
  assert.equal((await missed)[0], "while it was away");
  // A word where the offset was is none: nobody can say what this client has had.
  socket._lastOffset = "a word";
  await away(socket);
  await Client.up(socket);
  assert.equal(socket.recovered, false);
});

for (const [what, leave] of [
  ["the client has left", async (socket) => socket.disconnect()],
  ["the server has thrown it out", async (socket) => {
    const gone = next(socket, "disconnect");
    socket.emit("disconnect-me");
    await gone;
  }],
]) {
  test(`a new session where ${what}`, limit, async () => {
    const socket = await client({ transports: ["websocket"] }).connect();
    const { id } = socket;
    await leave(socket);
    await Client.up(socket);
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
  });
}

test("claims that are none", limit, async () => {
  const before = await metric(server, "corewire_recovery_unknown_total");
  const good = await client({ transports: ["websocket"] }).connect();
  for (const [pid, offset] of [
    ["", ""], ["__proto__", "1-0-1"], ["x".repeat(20), "ffffffffffffffffff-0-1"],
    ["A".repeat(20), null], [{ a: 1 }, ["b"]], [good._pid.toLowerCase(), undefined], [null, 1],
  ]) {
    const socket = await client({ transports: ["websocket"] }).connect("/", { auth: { pid, offset } });
    assert.deepEqual([socket.recovered, typeof socket._pid], [false, "string"]);
    assert.notEqual(socket.id, good.id);
  }
  // Of another namespace it is not either.
  const elsewhere = client({ transports: ["websocket"] }).socket("/custom");
  elsewhere._pid = good._pid;
  await Client.up(elsewhere);
  assert.equal(elsewhere.recovered, false);
  assert.equal(good.connected, true);
  assert.ok((await metric(server, "corewire_recovery_unknown_total")) > before);
});

test("a client that is back before the server has noticed takes its session along", limit, async () => {
  const socket = await client({ transports: ["websocket"] }).connect();
  await ask(socket, "join", "both");
  const second = client({ transports: ["websocket"] }).socket();
  [second._pid, second._lastOffset] = [socket._pid, socket._lastOffset];
  const gone = next(socket, "disconnect");
  await Client.up(second);
  assert.deepEqual([second.recovered, second.id.length], [true, 20]);
  assert.equal((await gone)[0], "transport close");
  assert.deepEqual((await ask(second, "whoami"))[0].rooms, [second.id, "both"]);
});

test("middleware is asked again", limit, async () => {
  const socket = client({ transports: ["websocket"] }).socket("/guarded", { auth: { token: "secret" } });
  await Client.up(socket);
  await away(socket);
  socket.auth = { token: "stolen" };
  const refused = next(socket, "connect_error");
  socket.connect();
  assert.equal((await refused)[0].message, "not authorized");
});

test("without the option there is nothing of it on the wire", limit, async () => {
  const plainServer = await startServer("conformance", CONFORMANCE_FLAGS);
  try {
    const socket = await client({ transports: ["websocket"] }, plainServer.url).connect();
    assert.equal(socket._pid, undefined);
    const back = next(socket, "message-back");
    socket.emit("message", "x");
    assert.deepEqual(await back, ["x"]);
  } finally {
    await plainServer.stop();
  }
});

describe("the gateway", () => {
  let gateway;
  before(async () => {
    gateway = await startServer("corewire", ["--recovery", "--rooms-open=true"]);
  });
  after(() => gateway.stop());

  const user = (userId) =>
    client({ transports: ["websocket"] }, gateway.url).connect("/", { auth: { userId } });

  test("a user misses no notification and stays in its rooms", limit, async () => {
    const socket = await user("anna");
    assert.equal((await ask(socket, "room:join", { roomId: "team" }))[0].success, true);
    await breakOff(socket);
    await eventually("the session is kept", async () => (await saved(gateway)) === 1);
    for (const n of [1, 2]) {
      const body = { to: { users: ["anna"] }, event: "news", args: [n] };
      assert.equal((await rest(gateway.admin, "POST", "/api/v1/emit", body)).status, 200);
    }
    const missed = collect(socket, "news", 2);
    await Client.up(socket);
    assert.equal(socket.recovered, true);
    assert.deepEqual((await missed).map(([n]) => n), [1, 2]);
    const { body } = await rest(gateway.admin, "GET", "/api/v1/rooms");
    assert.ok(JSON.stringify(body).includes('"team"'), JSON.stringify(body));
    const left = await ask(socket, "room:leave", { roomId: "team" });
    assert.equal(left[0].success, true);
  });

  test("somebody else who knows its private id gets nothing of it", limit, async () => {
    const socket = await user("bert");
    await ask(socket, "room:join", { roomId: "secret" });
    const { id, _pid: pid } = socket;
    await breakOff(socket);
    await eventually("the session is kept", async () => (await saved(gateway)) >= 1);
    const body = { to: { users: ["bert"] }, event: "news", args: ["for bert"] };
    await rest(gateway.admin, "POST", "/api/v1/emit", body);
    const thief = client({ transports: ["websocket"] }, gateway.url).socket("/", { auth: { userId: "carl" } });
    thief._pid = pid;
    await silent(thief, "news", async () => {
      await Client.up(thief);
      assert.equal(thief.recovered, false);
      assert.notEqual(thief.id, id);
      await ask(thief, "ping", {});
    });
    assert.equal(await metric(gateway, "corewire_recovery_strangers_total"), 1);
  });
});
