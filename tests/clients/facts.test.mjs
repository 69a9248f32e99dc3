// What webhooks are told: every session in order, at least once, through failures, dead letters,
// restarts of either side, and a queue that is full.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  ask, Client, eventually, failed, freePort, metric, rest, succeeded, terminate,
} from "./lib.mjs";
import { health, hook, limit, Receiver, route, serve } from "./receiver.mjs";

describe("what hooks are told", () => {
  test("every session in order, whatever fails in between", limit, async () => {
    const told = await new Receiver().listen();
    const server = await serve(`
rooms_open = true
${hook("told", told.url, ["connected", "join", "leave", "disconnect"], `batch_max = 7
batch_wait_ms = 10
breaker_failures = 1000
retries = 100`)}`);
    let calls = 0;
    told.answer = () => ({ status: calls++ % 3 === 1 ? 500 : 200 });
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const USERS = 6;
    const ROOMS = 5;
    await Promise.all(Array.from({ length: USERS }, async (_, n) => {
      const socket = await client.connect("/", { auth: { userId: `u${n}`, sessionId: `s${n}` } });
      for (let room = 0; room < ROOMS; room++) {
        await ask(socket, "room:join", { roomId: `r${room}` });
        await ask(socket, "room:join", { roomId: `r${room}` });
        await ask(socket, "room:leave", { roomId: `r${room}` });
      }
      socket.disconnect();
    }));
    await told.heard("every client to be gone", () =>
      told.facts((fact) => fact.type === "disconnect").length === USERS);
    const expected = ["connected"];
    for (let room = 0; room < ROOMS; room++) expected.push(`join r${room}`, `leave r${room}`);
    expected.push("disconnect client namespace disconnect");
    for (let n = 0; n < USERS; n++) {
      const facts = told.facts((fact) => fact.client.sessionId === `s${n}`);
      const words = facts.map((fact) => [fact.type, fact.roomId, fact.reason]);
      assert.deepEqual(words.map((all) => all.filter(Boolean).join(" ")), expected);
      assert.deepEqual(facts.map((fact) => fact.seq), expected.map((_, at) => at + 1));
    }
    const first = new Map();
    for (const { id, body } of told.calls) {
      assert.deepEqual(body, first.get(id) ?? body, "the same under one id, word for word");
      first.set(id, body);
    }
    assert.ok(first.size < told.calls.length, "something was told again");
    assert.ok(told.calls.every((call) => call.body.events.length <= 7));
    assert.ok(told.calls.some((call) => call.body.events.length > 1), "in batches");
    assert.equal((await health(server, "told")).waiting, 0);
    client.closeAll();
    await server.stop();
    await told.close();
  });

  test("what cannot be told is a dead letter, and can be told again", limit, async () => {
    const told = await new Receiver().listen();
    const server = await serve(`
${hook("told", told.url, ["connected"], `retries = 1
batch_max = 1
breaker_failures = 1000`)}
[[api_keys]]
name = "emitter"
key = "emitter-key-0123456789abcdef"
scopes = ["emit", "read"]`, [], { COREWIRE_API_KEY: "master-key-0123456789abcdef" });
    const key = { authorization: "Bearer master-key-0123456789abcdef" };
    const path = "/api/v1/hooks/dead-letters";
    const list = async (query = "") =>
      rest(server.url, "GET", `${path}${query}`, undefined, key);
    told.answer = () => ({ status: 500 });
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    for (const user of ["a", "b", "c"]) await client.connect("/", { auth: { userId: user } });
    const dead = await eventually("three dead letters", async () => {
      const data = succeeded(await list());
      return data.length === 3 && data;
    });
    for (const letter of dead) {
      const { hook: name, events, attempts, error } = letter;
      assert.deepEqual({ name, events, attempts, error }, {
        name: "told", events: 1, attempts: 2, error: "status 500",
      });
      assert.equal(told.calls.filter((call) => call.id === letter.id).length, 2);
    }
    const first = (await list("?limit=2")).body;
    assert.deepEqual(first.data, dead.slice(0, 2));
    const second = (await list(`?limit=2&cursor=${first.nextCursor}`)).body;
    assert.deepEqual([second.data, second.nextCursor], [dead.slice(2), null]);
    assert.deepEqual(succeeded(await list("?hook=other")), []);
    failed(await list("?limit=0"), 422, "VALIDATION_FAILED");
    failed(await list("?cursor=x"), 422, "VALIDATION_FAILED");
    const lesser = { authorization: "Bearer emitter-key-0123456789abcdef" };
    failed(await rest(server.url, "GET", path, undefined, lesser), 403, "FORBIDDEN");
    failed(await rest(server.url, "POST", `${path}/replay`, {}, lesser), 403, "FORBIDDEN");

    told.answer = () => ({});
    const replay = async (body) =>
      succeeded(await rest(server.url, "POST", `${path}/replay`, body, key));
    assert.deepEqual(await replay({ id: "msg_none" }), { replayed: 0, kept: 0 });
    assert.deepEqual(await replay({ id: dead[1].id }), { replayed: 1, kept: 0 });
    await told.heard("the one that was named", () => told.events.length === 1);
    assert.equal(told.calls.at(-1).id, dead[1].id, "under its own id");
    assert.deepEqual(await replay({ hook: "told" }), { replayed: 2, kept: 0 });
    await told.heard("the others", () => told.events.length === 3);
    assert.deepEqual(told.events.map((fact) => fact.client.userId).sort(), ["a", "b", "c"]);
    assert.deepEqual(succeeded(await list()), []);
    assert.equal(server.log.filter((line) => line.includes("webhook has dead letters")).length, 1);
    client.closeAll();
    await server.stop();
    await told.close();
  });

  test("a hook that is down at the start is told later", limit, async () => {
    const port = await freePort();
    const server = await serve(`
${hook("late", `http://127.0.0.1:${port}/hook`, ["connected", "event"], `breaker_failures = 2
breaker_open_ms = 100`)}
${route("price", "late", `ack = "reply"`)}`);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect("/", { auth: { userId: "ada", sessionId: "s" } });
    const [{ error }] = await ask(socket, "price", 1);
    assert.deepEqual([error.code, error.retryable], ["HOOK_UNAVAILABLE", true]);
    await eventually("its breaker to open", async () => {
      return (await health(server, "late")).breaker !== "closed";
    });
    assert.match((await health(server, "late")).lastError, /^it cannot be reached: /);
    const late = await new Receiver().listen(port);
    late.answer = ({ body }) => ({ json: { ack: [body.type] } });
    await late.heard("what happened before", () => late.events.length === 1);
    assert.equal(late.events[0].client.userId, "ada");
    await eventually("events to be answered", async () => (await ask(socket, "price"))[0] === "event");
    client.closeAll();
    await server.stop();
    await late.close();
  });

  test("a server that ends tells what it knows first, and what it could not", limit, async () => {
    const told = await new Receiver().listen();
    const nobody = `http://127.0.0.1:${await freePort()}/`;
    const more = "batch_wait_ms = 60000";
    const server = await serve(`
${hook("told", told.url, ["connected", "disconnect"], more)}
${hook("gone", nobody, ["connected"], more)}`, ["--drain", "500"]);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    await client.connect("/", { auth: { userId: "ada" } });
    assert.equal(await terminate(server), 0);
    assert.deepEqual(told.facts().map((fact) => fact.type), ["connected", "disconnect"]);
    const lines = server.log.filter((line) => line.includes("webhooks were not told everything"));
    assert.equal(lines.length, 1);
    assert.match(lines[0], /facts=1/);
    client.closeAll();
    await told.close();
  });

  test("a full queue loses the newest and counts them", limit, async () => {
    const told = await new Receiver().listen();
    const server = await serve(hook("told", told.url, ["connected"], `queue_max = 2
concurrency_max = 1
batch_max = 1
timeout_ms = 60000`));
    let release;
    const gate = new Promise((done) => { release = done; });
    told.answer = async () => { await gate; return {}; };
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    for (const user of ["a", "b", "c", "d"]) {
      await client.connect("/", { auth: { userId: user } });
    }
    await eventually("two to be lost", async () => {
      return (await metric(server, "corewire_hook_dropped_total")) === 2;
    });
    release();
    await told.heard("the two that had room", () => told.events.length === 2);
    assert.equal(server.log.filter((line) => line.includes("webhook queue full")).length, 1);
    client.closeAll();
    await server.stop();
    await told.close();
  });
});
