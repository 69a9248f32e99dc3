// Webhooks against a receiver of plain Node: signatures checked as a user would, the door, events
// and their answers, failures, order, dead letters, restarts.

import assert from "node:assert/strict";
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import {
  ask, Client, eventually, failed, next, rest, startServer, succeeded, terminate, TEST_MS, within,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
const folder = mkdtempSync(join(tmpdir(), "corewire-hooks-"));
after(() => rmSync(folder, { recursive: true }));

const newSecret = () => `whsec_${randomBytes(32).toString("base64")}`;
const SECRETS = [newSecret(), newSecret()];

/** What a receiver does with the headers and the raw body before it believes a word. */
function verify(secret, headers, body) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const { "webhook-id": id, "webhook-timestamp": timestamp } = headers;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) throw new Error("too old");
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  const given = headers["webhook-signature"].split(" ");
  if (!given.some((one) => {
    const [version, text] = one.split(",");
    const bytes = Buffer.from(text ?? "", "base64");
    return version === "v1" && bytes.length === mac.length && timingSafeEqual(bytes, mac);
  })) throw new Error("wrong signature");
}

/** A hook: keeps what it is sent, checked, and answers what `answer` says; `null` is never. */
class Receiver {
  calls = [];
  events = [];
  answer = () => ({});
  #server;
  #heard = [];

  async listen(port = 0) {
    this.#server = createServer((request, response) => this.#take(request, response));
    this.#server.listen(port, "127.0.0.1");
    await next(this.#server, "listening");
    this.port = this.#server.address().port;
    return this;
  }

  async close() {
    this.#server.closeAllConnections();
    const closed = new Promise((done) => this.#server.close(done));
    await within(closed, "the receiver to close");
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  /** What was taken, in order, one by one. */
  facts(of = () => true) {
    return this.events.filter(of);
  }

  /** Waits until the calls that were made satisfy `check`. */
  heard(what, check) {
    const value = check();
    if (value) return value;
    return within(new Promise((done) => {
      this.#heard.push(() => {
        const value = check();
        if (value) done(value);
        return value;
      });
    }), what);
  }

  async #take(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const raw = Buffer.concat(chunks).toString();
    for (const secret of SECRETS) verify(secret, request.headers, raw);
    assert.throws(() => verify(newSecret(), request.headers, raw), /wrong signature/);
    assert.throws(() => verify(SECRETS[0], request.headers, `${raw} `), /wrong signature/);
    assert.equal(request.headers["content-type"], "application/json");
    assert.equal(request.method, "POST");
    const body = JSON.parse(raw);
    const call = { id: request.headers["webhook-id"], headers: request.headers, body };
    this.calls.push(call);
    this.#look();
    const answer = await this.answer(call);
    if (answer !== null) {
      const { status = 200, json, text, headers = {} } = answer;
      if (status < 300 && body.type === "batch") this.events.push(...body.events);
      response.writeHead(status, headers);
      response.end(json === undefined ? text : JSON.stringify(json));
    }
    this.#look();
  }

  #look() {
    this.#heard = this.#heard.filter((look) => !look());
  }
}

let files = 0;
/** A server with these lines in its file. */
async function serve(lines, flags = [], env = {}) {
  const file = join(folder, `corewire-${files++}.toml`);
  writeFileSync(file, lines);
  return startServer("corewire", ["--config", file, "--cors-origin", "*", ...flags], env);
}

/** One row of the file. */
function hook(name, url, events, more = "") {
  const list = (items) => items.map((item) => JSON.stringify(item)).join(", ");
  return `
[[hooks]]
name = "${name}"
url = "${url}"
events = [${list(events)}]
secrets = [${list(SECRETS)}]
${more}
`;
}

const route = (event, to, more = "") => `
[[routes]]
event = "${event}"
to = "hook:${to}"
${more}
`;

/** A port on which nobody listens. */
async function deadPort() {
  const server = createServer().listen(0, "127.0.0.1");
  await next(server, "listening");
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

const health = async (server, name) => {
  const { hooks } = succeeded(await rest(server.admin, "GET", "/socket/health"));
  return hooks.find((one) => one.name === name);
};

/** The sum of a metric over all cores. */
async function metric(server, name) {
  const { text } = await rest(server.admin, "GET", "/metrics");
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
  assert.ok(lines.length > 0, `${name} is measured`);
  return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
}

describe("a hook at the door", () => {
  const door = new Receiver();
  let server;
  let client;
  before(async () => {
    await door.listen();
    const nobody = `http://127.0.0.1:${await deadPort()}/`;
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
    const port = await deadPort();
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
    const nobody = `http://127.0.0.1:${await deadPort()}/`;
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
