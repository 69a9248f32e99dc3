// Webhooks that are asked: the door, events and their answers, failures, a breaker that opens and
// closes again. What hooks are told is in `facts.test.mjs`.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { ask, Client, eventually, freePort, metric, next, rest, succeeded } from "./lib.mjs";
import { health, hook, limit, Receiver, route, serve } from "./receiver.mjs";

describe("a hook at the door", () => {
  const door = new Receiver();
  let server;
  let client;
  before(async () => {
    await door.listen();
    const nobody = `http://127.0.0.1:${await freePort()}/`;
    server = await serve(`
namespaces = ["/open", "/shut"]
${hook("door", door.url, ["connect"], `namespaces = ["/"]
headers = ["Cookie", "x-token"]
breaker_failures = 1000`)}
${hook("open", nobody, ["connect"], `namespaces = ["/open"]
on_error = "allow"`)}
${hook("shut", nobody, ["connect"], `namespaces = ["/shut"]`)}`);
    client = new Client("sio4", server.url, { transports: ["websocket"] });
  });
  after(() => server.stop());
  after(() => door.close());
  afterEach(() => client.closeAll());

  test("says who a client is and where it belongs", limit, async () => {
    door.answer = () => ({
      json: { allow: true, userId: "ada", sessionId: "s1", rooms: ["team:1"], more: 1 },
    });
    const socket = await client.connect("/", {
      auth: { userId: "mallory", token: "t" },
      query: { tenant: "a b" },
      extraHeaders: { Cookie: "sid=1", "X-Token": "x", "X-Secret": "no" },
    });
    const { body } = door.calls.at(-1);
    assert.deepEqual(Object.keys(body).sort(), [
      "address", "at", "auth", "headers", "namespace", "query", "type",
    ]);
    assert.deepEqual(body.auth, { userId: "mallory", token: "t" });
    assert.equal(body.query.tenant, "a b");
    assert.deepEqual(body.headers, { cookie: "sid=1", "x-token": "x" });
    assert.deepEqual([body.type, body.namespace, body.address], ["connect", "/", "127.0.0.1"]);
    const users = succeeded(await rest(server.admin, "GET", "/socket/users?userId=ada"));
    assert.deepEqual(users.map((user) => [user.socketId, user.sessionId]), [[socket.id, "s1"]]);
    const rooms = succeeded(await rest(server.admin, "GET", "/socket/rooms"));
    assert.deepEqual(rooms.map((room) => [room.id, room.userCount]), [["team:1", 1]]);
    const said = next(socket, "news");
    await rest(server.admin, "POST", "/socket/rooms/message", { roomId: "team:1", event: "news" });
    await said;
    socket.disconnect();
    await eventually("the room to be gone", async () => {
      return succeeded(await rest(server.admin, "GET", "/socket/rooms")).length === 0;
    });
  });

  test("grants what rules would have to", limit, async () => {
    const grants = [{ rooms: ["order:*"], allow: ["join"] }];
    door.answer = () => ({ json: { allow: true, userId: "ada", grants } });
    const socket = await client.connect("/");
    const [joined] = await ask(socket, "room:join", { roomId: "order:1" });
    assert.deepEqual([joined.success, joined.userCount], [true, 1]);
    const [refused] = await ask(socket, "room:join", { roomId: "other" });
    assert.equal(refused.error.code, "FORBIDDEN");
    const message = { roomId: "order:1", event: "x", data: 1 };
    const [silent] = await ask(socket, "room:message", message);
    assert.equal(silent.error.code, "FORBIDDEN", "to join is not to speak");
  });

  test("refuses with its own words", limit, async () => {
    door.answer = () => ({ json: { allow: false, code: "BANNED", message: "go away" } });
    assert.deepEqual(await client.refusal(client.socket("/")), {
      message: "go away", data: { code: "BANNED", retryable: false },
    });
    door.answer = () => ({ json: { allow: false, code: "SOON", message: "wait", retryable: true } });
    const { data } = await client.refusal(client.socket("/"));
    assert.deepEqual(data, { code: "SOON", retryable: true });
  });

  const unavailable = {
    message: "the back end cannot be asked now",
    data: { code: "HOOK_UNAVAILABLE", retryable: true },
  };
  const wrong = {
    "no JSON": { text: "yes" },
    "an empty body": { status: 204 },
    "no user": { json: { allow: true } },
    "a user who is none": { json: { allow: true, userId: "" } },
    "the room of somebody else": { json: { allow: true, userId: "a", rooms: ["user:b"] } },
    "a word for a flag": { json: { allow: "true", userId: "a" } },
    "a code that is none": { json: { allow: false, code: "no code" } },
    "a status of failure": { status: 500, json: { allow: true, userId: "a" } },
    "a redirect": { status: 302, headers: { location: "/other" }, json: { allow: true, userId: "a" } },
    "too much": { json: { allow: true, userId: "a", more: "x".repeat(2 << 20) } },
    "nothing in time": null,
  };
  for (const [what, answer] of Object.entries(wrong)) {
    test(`that answers ${what} lets nobody in`, limit, async () => {
      door.answer = () => answer;
      const before = door.calls.length;
      const socket = client.socket("/", { auth: { userId: "mallory" } });
      assert.deepEqual(await client.refusal(socket), unavailable);
      assert.equal(door.calls.length, before + 1, "it was asked once");
    });
  }

  test("that wants to be asked later is asked later, under the same id", limit, async () => {
    const from = door.calls.length;
    door.answer = () => (door.calls.length === from + 1
      ? { status: 503, headers: { "retry-after": "0" } }
      : { json: { allow: true, userId: "ada" } });
    await client.connect("/");
    const ids = door.calls.slice(from).map((call) => call.id);
    assert.equal(ids.length, 2);
    assert.equal(ids[0], ids[1]);
  });

  test("that is not there: shut by default, open where the file says so", limit, async () => {
    assert.deepEqual(await client.refusal(client.socket("/shut", { auth: { userId: "a" } })), unavailable);
    await client.connect("/open", { auth: { userId: "bob" } });
    const { data } = await client.refusal(client.socket("/open"));
    assert.equal(data.code, "AUTH_REQUIRED", "as whoever it says it is, not as nobody");
  });
});

describe("a hook that may be passed by while it cannot be asked", () => {
  const door = new Receiver();
  let server;
  let client;
  before(async () => {
    await door.listen();
    const more = 'on_error = "allow"\nretries = 0\nbreaker_failures = 1000';
    server = await serve(hook("door", door.url, ["connect"], more));
    client = new Client("sio4", server.url);
  });
  after(async () => {
    client.closeAll();
    await server.stop();
    await door.close();
  });

  // What a client can bring about, or what may have been a no, lets nobody in.
  const told = {
    "no, with a code that is none": { json: { allow: false, code: "no such code" } },
    "no, and something odd": { json: { allow: false, retryable: "no" } },
    "no JSON": { text: "DENIED" },
    "the status 401": { status: 401, json: {} },
    "the status 413": { status: 413, json: {} },
    "a redirect": { status: 302, headers: { location: "/other" } },
    "too much": { json: { allow: false, more: "x".repeat(2 << 20) } },
  };
  for (const [what, answer] of Object.entries(told)) {
    test(`and answers ${what}`, limit, async () => {
      door.answer = () => answer;
      const { data } = await client.refusal(client.socket("/", { auth: { userId: "admin" } }));
      assert.deepEqual(data, { code: "HOOK_UNAVAILABLE", retryable: true });
    });
  }

  test("and says that it cannot answer", limit, async () => {
    door.answer = () => ({ status: 500 });
    await client.connect("/", { auth: { userId: "bob" } });
  });
});

describe("events with a hook as their back end", () => {
  const back = new Receiver();
  let server;
  let client;
  let socket;
  before(async () => {
    await back.listen();
    server = await serve(`
${hook("back", back.url, ["event"], `timeout_ms = 500
breaker_failures = 1000`)}
${route("price", "back", `ack = "reply"`)}
${route("save", "back", `ack = "confirm"`)}
${route("note", "back", `ack = "immediate"`)}
${route("ai_request", "back", `ack = "confirm"`)}`);
    client = new Client("sio4", server.url, { transports: ["websocket"] });
    socket = await client.connect("/", { auth: { userId: "ada", sessionId: "s1" } });
  });
  after(() => client.closeAll());
  after(() => server.stop());
  after(() => back.close());

  test("the hook's answer is the acknowledgement", limit, async () => {
    back.answer = () => ({ json: { ack: [{ price: 1.50, big: 1 }, "EUR"] } });
    const got = await ask(socket, "price", { item: 7, requestId: "r1" }, null, "x");
    assert.deepEqual(got, [{ price: 1.5, big: 1 }, "EUR"]);
    const { body } = back.calls.at(-1);
    assert.match(body.at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.equal(typeof body.seq, "number");
    delete body.at;
    delete body.seq;
    assert.deepEqual(body, {
      type: "event",
      event: "price",
      args: [{ item: 7, requestId: "r1" }, null, "x"],
      client: { userId: "ada", sessionId: "s1", socketId: socket.id, namespace: "/" },
      requestId: "r1",
      wantsAck: true,
    });
    back.answer = () => ({ json: { ack: [] } });
    assert.deepEqual(await ask(socket, "price"), []);
    back.answer = () => ({ status: 204 });
    assert.deepEqual(await ask(socket, "price"), []);
  });

  test("bytes both ways", limit, async () => {
    back.answer = ({ body }) => ({ json: { ack: [body.args[0].file, { $b64: "AAH/" }, 1] } });
    const got = await ask(socket, "price", { file: Buffer.from("hello"), n: 1 });
    assert.deepEqual(back.calls.at(-1).body.args, [{ file: { $b64: "aGVsbG8=" }, n: 1 }]);
    assert.deepEqual(got.slice(0, 2).map((bytes) => Buffer.from(bytes).toString("hex")), [
      "68656c6c6f", "0001ff",
    ]);
    assert.equal(got[2], 1);
  });

  const refusal = (code, message, retryable, more = {}) => [{
    success: false, error: { code, message, retryable, ...more },
  }];

  test("the hook refuses, fails, or is slow: the client is told which", limit, async () => {
    back.answer = () => ({ json: { error: { code: "SOLD_OUT", message: "none left" } } });
    assert.deepEqual(await ask(socket, "price", 1), refusal("SOLD_OUT", "none left", false));
    const failedWords = refusal("HOOK_FAILED", "the webhook did not answer properly", true);
    for (const answer of [
      { status: 500 }, { status: 404 }, { json: { price: 1 } }, { text: "ok" },
      { json: { ack: { not: "a list" } } }, { json: { ack: [1], error: { code: "A" } } },
      { json: { ack: [{ $b64: "?" }] } },
    ]) {
      back.answer = () => answer;
      assert.deepEqual(await ask(socket, "price", 1), failedWords, JSON.stringify(answer));
    }
    const before = back.calls.length;
    back.answer = () => null;
    const late = refusal("TIMEOUT", "the back end did not answer in time", true);
    assert.deepEqual(await ask(socket, "price", 1), late);
    assert.equal(back.calls.length, before + 1, "what may have been done is not done again");
    assert.equal((await health(server, "back")).lastError, "no answer in time");
  });

  test("accepted means that the hook has it", limit, async () => {
    const from = back.calls.length;
    back.answer = () => (back.calls.length <= from + 2 ? { status: 429 } : { status: 202, text: "x" });
    const [answer] = await ask(socket, "save", { requestId: "r2" });
    const ids = back.calls.slice(from).map((call) => call.id);
    assert.equal(ids.length, 3, "429 twice, then taken");
    assert.deepEqual([...new Set(ids)], [answer.messageId]);
    assert.deepEqual(answer, {
      success: true, status: "accepted", messageId: ids[0], requestId: "r2",
    });
    back.answer = () => ({ status: 500 });
    assert.deepEqual(
      await ask(socket, "save", 1),
      refusal("HOOK_FAILED", "the webhook did not answer properly", true),
    );
  });

  test("immediate means that it is on its way, in order", limit, async () => {
    back.answer = () => ({});
    for (const n of [1, 2, 3]) {
      const [answer] = await ask(socket, "note", n);
      assert.equal(answer.status, "queued");
    }
    const notes = () => back.facts((event) => event.event === "note");
    await back.heard("three notes", () => notes().length === 3);
    assert.deepEqual(notes().map((event) => event.args), [[1], [2], [3]]);
    assert.ok(notes().every((event) => event.type === "event" && event.client.userId === "ada"));
  });

  test("an ai_request is the back end's, its user filled in", limit, async () => {
    back.answer = () => ({});
    const request = { toolId: "t", message: "m", requestId: "r3", sessionId: "s1" };
    const [answer] = await ask(socket, "ai_request", request);
    assert.deepEqual([answer.success, answer.status, answer.requestId], [true, "accepted", "r3"]);
    assert.deepEqual(back.calls.at(-1).body.args, [{ ...request, userId: "ada" }]);
  });
});

describe("a hook that fails in a row", () => {
  test("is left alone for a while, and its clients are told", limit, async () => {
    const back = await new Receiver().listen();
    const server = await serve(`
${hook("shaky", back.url, ["event"], `breaker_failures = 3
breaker_open_ms = 400`)}
${route("price", "shaky", `ack = "reply"`)}`);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect("/", { auth: { userId: "ada" } });
    back.answer = () => ({ status: 500 });
    for (const _ of [1, 2, 3]) {
      assert.equal((await ask(socket, "price"))[0].error.code, "HOOK_FAILED");
    }
    const [{ error }] = await ask(socket, "price");
    assert.equal(error.code, "HOOK_UNAVAILABLE");
    assert.ok(error.retryAfterMs > 0 && error.retryAfterMs <= 400, `${error.retryAfterMs}`);
    assert.equal(back.calls.length, 3, "it was not called a fourth time");
    assert.equal((await health(server, "shaky")).breaker, "open");
    assert.equal(await metric(server, "corewire_hook_open"), 1);
    back.answer = () => ({ json: { ack: ["back"] } });
    await eventually("it to be tried again", async () => (await ask(socket, "price"))[0] === "back");
    assert.equal((await health(server, "shaky")).breaker, "closed");
    const lines = (text) => server.log.filter((line) => line.includes(text));
    assert.equal(lines("webhook left alone").length, 1, server.log.join("\n"));
    assert.match(lines("webhook left alone")[0], /shaky.*status 500/);
    assert.equal(lines("webhook answers again").length, 1);
    assert.ok((await metric(server, "corewire_hook_skipped_total")) >= 1);
    client.closeAll();
    await server.stop();
    await back.close();
  });

  test("time spent waiting for a place is not the hook's fault", limit, async () => {
    const back = await new Receiver().listen();
    const server = await serve(`
${hook("busy", back.url, ["event"], `concurrency_max = 1
timeout_ms = 1500
breaker_failures = 1`)}
${route("price", "busy", `ack = "reply"
timeout_ms = 1500`)}`);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect("/", { auth: { userId: "ada" } });
    const gates = [];
    back.answer = ({ body }) => new Promise((done) => {
      gates.push(() => done({ json: { ack: [body.args[0]] } }));
    });
    const begun = performance.now();
    const [first, second] = [ask(socket, "price", 1), ask(socket, "price", 2)];
    await back.heard("the first call", () => back.calls.length === 1);
    // The second waits for the place until little is left of its time, and is not answered then.
    setTimeout(() => gates[0](), 1_100 - (performance.now() - begun));
    assert.deepEqual(await first, [1]);
    assert.equal((await second)[0].error.code, "TIMEOUT");
    assert.equal(back.calls.length, 2, "it was made");
    assert.equal((await health(server, "busy")).breaker, "closed");
    gates[1]();
    // A call that had all its time counts.
    assert.equal((await ask(socket, "price", 3))[0].error.code, "TIMEOUT");
    assert.equal((await health(server, "busy")).breaker, "open");
    client.closeAll();
    await server.stop();
    await back.close();
  });

  test("and one that is slow holds up no more than its share", limit, async () => {
    const slow = await new Receiver().listen();
    const quick = await new Receiver().listen();
    const server = await serve(`
${hook("slow", slow.url, ["event"], `concurrency_max = 2
queue_max = 3
timeout_ms = 60000`)}
${hook("quick", quick.url, ["event"])}
${route("slow", "slow", `ack = "reply"
timeout_ms = 60000`)}
${route("quick", "quick", `ack = "reply"`)}`);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect("/", { auth: { userId: "ada" } });
    let release;
    const gate = new Promise((done) => { release = done; });
    slow.answer = async () => { await gate; return { json: { ack: ["done"] } }; };
    quick.answer = () => ({ json: { ack: ["quick"] } });
    const waiting = [1, 2, 3].map((n) => ask(socket, "slow", n));
    await slow.heard("two calls", () => slow.calls.length === 2);
    const [{ error }] = await ask(socket, "slow", 4);
    assert.equal(error.code, "HOOK_UNAVAILABLE", "one more than may wait");
    assert.deepEqual(await ask(socket, "quick"), ["quick"], "another hook is not held up");
    assert.equal(slow.calls.length, 2, "no more at one time than it may have");
    release();
    assert.deepEqual(await Promise.all(waiting), [["done"], ["done"], ["done"]]);
    assert.equal(await metric(server, "corewire_hook_turned_away_total"), 1);
    client.closeAll();
    await server.stop();
    await slow.close();
    await quick.close();
  });
});
