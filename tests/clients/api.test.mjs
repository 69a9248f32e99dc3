// The commands of /api/v1 as a back end sends them, with real clients at the other end: every
// verb, and the refusals that need a client to be seen.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import {
  ask, Client, collect, eventually, failed, next, rest, startServer, succeeded, TEST_MS,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };

describe("commands of back ends", () => {
  let server;
  let client;
  const call = (verb, body, headers) =>
    rest(server.admin, "POST", `/api/v1/${verb}`, body, headers);
  const list = (path) => rest(server.admin, "GET", `/api/v1/${path}`);
  const user = (userId, sessionId) => client.connect("/", { auth: { userId, sessionId } });

  before(async () => {
    server = await startServer("corewire", ["--cors-origin", "*", "--namespaces", "/game"]);
    client = new Client("sio4", server.url);
  });
  afterEach(async () => {
    client.closeAll();
    await eventually("the test's clients are gone", async () => {
      return succeeded(await list("sockets")).length === 0;
    });
  });
  after(() => server.stop());

  test("emit: a union of names, one copy each, several arguments, binary", limit, async () => {
    const [ada, eve] = await Promise.all([user("ada", "s1"), user("eve")]);
    const heard = [ada, eve].map((socket) => next(socket, "news"));
    const sent = succeeded(await call("emit", {
      to: { users: ["ada", "eve"], sessions: ["s1"], sockets: [ada.id] },
      event: "news",
      args: [1, "ж", { file: { $b64: "AQID" } }, { $b64: "" }],
    }));
    assert.equal(sent.matched, 2);
    assert.equal(sent.queued, 2);
    assert.equal(typeof sent.id, "string");
    for (const [one, two, { file }, empty] of await Promise.all(heard)) {
      assert.deepEqual([one, two], [1, "ж"]);
      assert.deepEqual([...new Uint8Array(file)], [1, 2, 3]);
      assert.equal(Buffer.from(empty).length, 0);
    }
    const stray = [];
    ada.on("rest", () => stray.push("ada"));
    const spared = next(eve, "rest");
    const others = { all: true, except: { users: ["ada"] } };
    assert.equal(succeeded(await call("emit", { to: others, event: "rest" })).matched, 1);
    await spared;
    await ask(ada, "ai_request", {});
    assert.deepEqual(stray, []);
  });

  test("emit: who is meant must be said, and rightly", limit, async () => {
    const ada = await user("ada");
    const stray = [];
    ada.on("e", () => stray.push("e"));
    for (const [body, member] of [
      [{ event: "e" }, "to"],
      [{ to: {}, event: "e" }, "to"],
      [{ to: { all: true, excpt: { users: ["ada"] } }, event: "e" }, "to.excpt"],
      [{ to: { all: true }, event: "disconnect" }, "event"],
      [{ to: { all: true }, event: "e", args: [{ $b64: "%" }] }, "args"],
    ]) {
      const error = failed(await call("emit", body), 422, "VALIDATION_FAILED");
      assert.equal(error.details[0].member, member);
      assert.equal(error.retryable, false);
    }
    const nowhere = { to: { all: true, namespace: "/x" }, event: "e" };
    failed(await call("emit", nowhere), 404, "NAMESPACE_NOT_FOUND");
    await ask(ada, "ai_request", {});
    assert.deepEqual(stray, []);
  });

  test("ask: the answers of clients, who gave them, and when it is enough", limit, async () => {
    const [ada, eve] = await Promise.all([user("ada"), user("eve")]);
    ada.on("question", (n, reply) => reply({ n }, Buffer.from([7])));
    const question = { to: { all: true }, event: "question", args: [5], timeoutMs: 400 };
    const missed = failed(await call("ask", question), 504, "QUORUM_MISSED");
    const { matched, written, acked, timedOut, gone } = missed.details;
    assert.deepEqual([matched, written, acked, timedOut, gone], [2, 2, 1, 1, 0]);
    const any = succeeded(await call("ask", { ...question, quorum: "any", timeoutMs: 60_000 }));
    assert.deepEqual(any.replies, [
      { socketId: ada.id, userId: "ada", args: [{ n: 5 }, { $b64: "Bw==" }] },
    ]);
    eve.on("question", (n, reply) => reply(n + 1));
    const all = succeeded(await call("ask", question));
    assert.deepEqual([all.matched, all.written, all.acked], [2, 2, 2]);
    const eves = all.replies.find(({ userId }) => userId === "eve");
    assert.deepEqual(eves.args, [6]);
    assert.equal(succeeded(await call("ask", { ...question, collect: 1 })).replies.length, 1);
  });

  test("ask: whoever leaves is counted as gone", limit, async () => {
    const ada = await user("ada");
    ada.on("question", () => ada.disconnect());
    const question = { to: { users: ["ada"] }, event: "question", timeoutMs: 20_000 };
    const missed = failed(await call("ask", question), 504, "QUORUM_MISSED");
    assert.deepEqual([missed.details.timedOut, missed.details.gone], [0, 1]);
  });

  test("join and leave, in any namespace", limit, async () => {
    const auth = { userId: "ada" };
    const [ada, player] = await Promise.all([
      user("ada"), client.connect("/game", { auth }),
    ]);
    const to = { users: ["ada"], namespace: "/game" };
    const joined = succeeded(await call("join", { to, rooms: ["red", "blue"] }));
    assert.equal(joined.matched, 1);
    assert.deepEqual(joined.rooms, [
      { roomId: "red", sockets: 1 }, { roomId: "blue", sockets: 1 },
    ]);
    const rooms = succeeded(await list("rooms?namespace=/game&prefix=r"));
    assert.deepEqual(rooms.map(({ id, userCount }) => [id, userCount]), [["red", 1]]);
    assert.deepEqual(succeeded(await list("rooms?prefix=red")), []);
    const goal = next(player, "goal");
    const toRed = { rooms: ["red"], namespace: "/game" };
    assert.equal(succeeded(await call("emit", { to: toRed, event: "goal" })).queued, 1);
    await goal;
    succeeded(await call("leave", { to: { all: true, namespace: "/game" }, rooms: ["red"] }));
    assert.equal(succeeded(await call("emit", { to: toRed, event: "goal" })).matched, 0);
    const refused = await call("join", { to: { sockets: [ada.id] }, rooms: ["user:eve"] });
    assert.equal(failed(refused, 422, "VALIDATION_FAILED").details[0].member, "rooms[0]");
  });

  test("disconnect: to come back, or to stay away", limit, async () => {
    const [ada, eve] = await Promise.all([
      client.connect("/", { auth: { userId: "ada" }, reconnection: true, reconnectionDelay: 10 }),
      client.connect("/", { auth: { userId: "eve" }, reconnection: true, reconnectionDelay: 10 }),
    ]);
    const lost = next(ada, "disconnect");
    const back = next(ada, "connect");
    const away = { to: { users: ["ada"] }, mode: "reconnect" };
    assert.equal(succeeded(await call("disconnect", away)).matched, 1);
    assert.notEqual((await lost)[0], "io server disconnect");
    await back;
    const told = next(eve, "error");
    const ended = next(eve, "disconnect");
    const terminal = { to: { users: ["eve"] }, mode: "terminal", reason: "Maintenance" };
    assert.equal(succeeded(await call("disconnect", terminal)).matched, 1);
    const [{ code, message }] = await told;
    assert.deepEqual([code, message], ["DISCONNECTED", "Maintenance"]);
    assert.equal((await ended)[0], "io server disconnect");
    assert.equal(eve.active, false, "it does not try to come back");
  });

  test("users, rooms and sockets are found", limit, async () => {
    await Promise.all([user("ada", "s1"), user("ada"), user("adam"), user("eve")]);
    const users = succeeded(await call("users/query", { userIds: ["eve", "nobody", "ada"] }));
    assert.deepEqual(users, [
      { userId: "eve", connected: true, sockets: 1 },
      { userId: "nobody", connected: false, sockets: 0 },
      { userId: "ada", connected: true, sockets: 2 },
    ]);
    const ids = (sockets) => sockets.map(({ userId }) => userId).sort();
    assert.deepEqual(ids(succeeded(await list("sockets?prefix=ada"))), ["ada", "ada", "adam"]);
    assert.deepEqual(ids(succeeded(await list("sockets?userId=ada"))), ["ada", "ada"]);
    const seen = [];
    let cursor = "";
    do {
      const page = await list(`sockets?limit=2${cursor}`);
      seen.push(...succeeded(page));
      cursor = page.body.nextCursor && `&cursor=${encodeURIComponent(page.body.nextCursor)}`;
      assert.ok(seen.length < 10);
    } while (cursor);
    assert.deepEqual(ids(seen), ["ada", "ada", "adam", "eve"]);
    const auto = succeeded(await list("rooms?auto=true&prefix=session:"));
    assert.deepEqual(auto.map(({ id }) => id), ["session:s1"]);
    failed(await list("rooms?limit=0"), 422, "VALIDATION_FAILED");
  });

  test("batch: a thousand commands in their order, each with its result", limit, async () => {
    const ada = await user("ada");
    const heard = collect(ada, "n", 998);
    const emits = Array.from({ length: 998 }, (_, n) => (
      { verb: "emit", to: { users: ["ada"] }, event: "n", args: [n] }
    ));
    const commands = [
      ...emits, { verb: "emit", to: {}, event: "n" },
      { verb: "notification", userId: "ada", type: "info", title: "t", message: "m" },
    ];
    const note = next(ada, "notification");
    const done = succeeded(await call("batch", { commands }));
    assert.deepEqual([done.succeeded, done.failed], [999, 1]);
    assert.equal(done.results[0].body.data.queued, 1);
    assert.equal(done.results[998].status, 422);
    assert.equal(done.results[999].body.data.recipients, 1);
    assert.deepEqual((await heard).map(([n]) => n), emits.map((_, n) => n));
    await note;
    const stopped = succeeded(await call("batch", {
      commands: [commands[998], commands[0]], stopOnError: true,
    }));
    assert.deepEqual(stopped.results.map(({ status }) => status), [422, 424]);
  });

  test("the same key is the same command", limit, async () => {
    const ada = await user("ada");
    const stray = [];
    ada.on("once", (n) => stray.push(n));
    const key = { "idempotency-key": "order-1" };
    const body = { to: { users: ["ada"] }, event: "once", args: [1] };
    const first = await call("emit", body, key);
    const again = await call("emit", body, key);
    assert.deepEqual(again.body, first.body);
    assert.equal(first.headers.get("idempotency-replayed"), null);
    assert.equal(again.headers.get("idempotency-replayed"), "true");
    failed(await call("emit", { ...body, args: [2] }, key), 422, "IDEMPOTENCY_MISMATCH");
    const note = { userId: "ada", type: "info", title: "t", message: "m" };
    const notes = [];
    ada.on("notification", (got) => notes.push(got));
    const seed = { "idempotency-key": "order-2" };
    for (let i = 0; i < 2; i += 1) {
      const told = await rest(server.admin, "POST", "/socket/notifications", note, seed);
      assert.equal(succeeded(told).recipients, 1);
    }
    const question = { to: { users: ["ada"] }, event: "wait", timeoutMs: 20_000 };
    const asked = next(ada, "wait");
    const waiting = call("ask", question, { "idempotency-key": "order-3" });
    const [reply] = await asked;
    const meanwhile = await call("ask", question, { "idempotency-key": "order-3" });
    failed(meanwhile, 409, "IDEMPOTENCY_IN_PROGRESS");
    assert.equal(meanwhile.headers.get("retry-after"), "1");
    reply("done");
    assert.deepEqual(succeeded(await waiting).replies[0].args, ["done"]);
    assert.deepEqual([stray, notes.length], [[1], 1]);
  });
});
