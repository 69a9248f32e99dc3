// RabbitMQ, both ways: the built gateway, the official client on one side, and a back end with
// amqplib on the other, around a broker of our own.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { after, afterEach, before, describe, test } from "node:test";
import { ask, BINARIES, collect, eventually, next, PYTHON, rest, startServer } from "./lib.mjs";
import {
  broker, command, consume, folder, gateway, limit, request, ROUTES, worker,
} from "./rabbitmq.mjs";

describe("a gateway and a back end", () => {
  let server;
  let backend;
  before(async () => {
    server = await gateway(["--rabbitmq-facts", "--rabbitmq-python-channel", "socketio"]);
    backend = await broker.client();
    await server.linked("up");
  }, limit);
  afterEach(() => server.client.closeAll());
  after(async () => {
    await backend.close();
    await server.stop();
  });

  test("an ai_request is confirmed, and its answer reaches the user", limit, async () => {
    const queue = await worker(backend.channel, server.prefix, "ai.request.*");
    const requests = await consume(backend.channel, queue);
    const [asking, other] = await Promise.all([server.user("ada", "s1"), server.user("ada", "s1")]);
    const [answer] = await ask(asking, "ai_request", request("r1", "to.ol#"));
    assert.equal(answer.success, true);
    assert.equal(answer.status, "accepted");
    assert.equal(answer.requestId, "r1");
    const { fields, properties, content } = await requests.next();
    assert.equal(fields.routingKey, "ai.request.to_ol_");
    assert.equal(properties.messageId, answer.messageId);
    assert.equal(properties.correlationId, answer.messageId);
    assert.equal(properties.type, "ai_request");
    assert.equal(properties.deliveryMode, 2);
    assert.equal(properties.contentType, "application/json");
    assert.equal(properties.headers["x-sio-user"], "ada");
    assert.equal(properties.headers["x-sio-session"], "s1");
    assert.equal(properties.headers["x-sio-sid"], asking.id);
    assert.equal(properties.headers["x-sio-request-id"], "r1");
    const body = JSON.parse(content);
    assert.deepEqual(body.args, [{ ...request("r1", "to.ol#"), userId: "ada" }]);
    assert.deepEqual(body.client, {
      userId: "ada", sessionId: "s1", socketId: asking.id, namespace: "/",
    });

    const both = Promise.all([next(asking, "ai_response"), next(other, "ai_response")]);
    const reply = { requestId: "r1", response: "Hi.", success: true, duration: 5, toolId: "tool1" };
    backend.channel.sendToQueue(properties.replyTo, Buffer.from(JSON.stringify(reply)), {
      correlationId: properties.correlationId,
    });
    for (const [payload] of await both) assert.deepEqual(payload, { ...reply, userId: "ada" });
  });

  test("an emit command reaches clients, and its sender hears of it", limit, async () => {
    const socket = await server.user("ada");
    const heard = next(socket, "news");
    const answer = await command(backend, server.prefix, "emit", {
      event: "news", args: [1, { two: 2 }], to: { users: ["ada"] },
    });
    assert.equal(answer.success, true);
    assert.equal(answer.data.matched, 1);
    assert.deepEqual(await heard, [1, { two: 2 }]);
  });

  test("an answer becomes the acknowledgement where the route says so", limit, async () => {
    const queue = await worker(backend.channel, server.prefix, "compute");
    const jobs = await consume(backend.channel, queue);
    const socket = await server.user("ada");
    const answer = (job, body, headers) =>
      backend.channel.sendToQueue(job.properties.replyTo, Buffer.from(JSON.stringify(body)), {
        correlationId: job.properties.correlationId, headers,
      });
    const first = ask(socket, "compute", 20, 22);
    const job = await jobs.next();
    assert.deepEqual(JSON.parse(job.content).args, [20, 22]);
    answer(job, { sum: 42, blob: { $b64: "AP8=" } });
    const [result] = await first;
    assert.equal(result.sum, 42);
    assert.deepEqual([...result.blob], [0, 255]);

    const second = ask(socket, "compute", Buffer.from([1, 2, 3]));
    const binary = await jobs.next();
    assert.deepEqual(JSON.parse(binary.content).args, [{ $b64: "AQID" }]);
    answer(binary, {}, { "x-sio-error-code": "NO_MODEL", "x-sio-error-message": "none is loaded" });
    const [refused] = await second;
    assert.equal(refused.success, false);
    assert.equal(refused.error.code, "NO_MODEL");

    const [late] = await ask(socket, "compute", 1);
    assert.deepEqual([late.success, late.error.code, late.error.retryable], [false, "TIMEOUT", true]);
  });

  test("what no queue takes, and what the broker refuses, is said", limit, async () => {
    const socket = await server.user("ada", "s1");
    const [nobody] = await ask(socket, "nobody", {});
    assert.equal(nobody.success, false);
    assert.deepEqual([nobody.error.code, nobody.error.retryable], ["UNROUTABLE", false]);
    await worker(backend.channel, server.prefix, "ai.request.full", {
      exclusive: true, arguments: { "x-max-length": 1, "x-overflow": "reject-publish" },
    });
    const answers = [];
    for (const id of ["1", "2", "3"]) {
      answers.push((await ask(socket, "ai_request", request(id, "full")))[0]);
    }
    assert.equal(answers[0].status, "accepted");
    assert.deepEqual([answers[2].error.code, answers[2].error.retryable], ["BROKER_NACK", true]);
  });

  test("many at once keep their own answers, routable or not", limit, async () => {
    const queue = await worker(backend.channel, server.prefix, "ai.request.mixed");
    const requests = await consume(backend.channel, queue);
    const socket = await server.user("ada", "s1");
    const asked = [];
    for (let n = 0; n < 500; n += 1) {
      asked.push(n % 3 ? ask(socket, "ai_request", request(String(n), "mixed")) : ask(socket, "nobody", n));
    }
    const answers = (await Promise.all(asked)).map(([answer]) => answer);
    answers.forEach((answer, n) => {
      if (n % 3) assert.equal(answer.status, "accepted", `${n}: ${JSON.stringify(answer)}`);
      else assert.equal(answer.error?.code, "UNROUTABLE", `${n}: ${JSON.stringify(answer)}`);
    });
    const expected = answers.flatMap((answer) => answer.messageId ?? []);
    await requests.until(expected.length);
    assert.deepEqual(requests.map(({ properties }) => properties.messageId), expected, "in order");
  });

  test("a command that comes twice is done once and answered twice", limit, async () => {
    const socket = await server.user("ada");
    const options = { messageId: randomUUID() };
    const body = { event: "once", args: [1], to: { users: ["ada"] } };
    const seen = [];
    socket.on("once", (...args) => seen.push(args));
    const first = await command(backend, server.prefix, "emit", body, options);
    const again = await command(backend, server.prefix, "emit", body, options);
    assert.deepEqual(again, first);
    await command(backend, server.prefix, "emit", { ...body, event: "end" });
    assert.deepEqual(seen, [[1]]);
    assert.ok((await server.metric("amqp_duplicates_total")) >= 1);
  });

  test("commands of one sender keep their order", limit, async () => {
    const socket = await server.user("ada");
    const heard = collect(socket, "count", 1000);
    for (let n = 0; n < 1000; n += 1) {
      const body = JSON.stringify({ event: "count", args: [n], to: { users: ["ada"] } });
      backend.channel.publish(`${server.prefix}.commands`, "x", Buffer.from(body), {
        type: "emit", messageId: randomUUID(),
      });
    }
    assert.deepEqual((await heard).map(([n]) => n), Array.from({ length: 1000 }, (_, n) => n));
  });

  test("other verbs, by routing key too", limit, async () => {
    const socket = await server.user("eve");
    const joined = await command(backend, server.prefix, "join", {
      to: { users: ["eve"] }, rooms: ["team"],
    });
    assert.equal(joined.data.matched, 1);
    const heard = next(socket, "hi");
    const emitted = { event: "hi", args: [], to: { rooms: ["team"] } };
    const { queue } = await backend.channel.assertQueue("", { exclusive: true });
    const answers = await consume(backend.channel, queue);
    backend.channel.publish(`${server.prefix}.commands`, "emit.anything", Buffer.from(JSON.stringify(emitted)), {
      messageId: randomUUID(), replyTo: queue,
    });
    assert.equal(JSON.parse((await answers.next()).content).success, true);
    await heard;
    socket.on("question", (n, reply) => reply(n + 1));
    const asked = await command(backend, server.prefix, "ask", {
      event: "question", args: [41], to: { users: ["eve"] }, quorum: "all",
    });
    assert.match(JSON.stringify(asked.data), /42/);
    const gone = next(socket, "disconnect");
    await command(backend, server.prefix, "disconnect", { to: { users: ["eve"] }, mode: "terminal" });
    assert.deepEqual(await gone, ["io server disconnect", undefined].slice(0, (await gone).length));
  });

  test("a ready payload is sent as it is", limit, async () => {
    const socket = await server.user("ada");
    const heard = collect(socket, "ready", 2);
    const headers = { "x-sio-event": "ready", "x-sio-users": "ada" };
    await command(backend, server.prefix, undefined, { any: "thing" }, { headers });
    await command(backend, server.prefix, undefined, Buffer.from([7, 8]), {
      headers, contentType: "application/octet-stream",
    });
    const [[object], [bytes]] = await heard;
    assert.deepEqual(object, { any: "thing" });
    assert.deepEqual([...bytes], [7, 8]);
  });

  test("status_update and notification find session and user", limit, async () => {
    const socket = await server.user("ada", "s7");
    const both = Promise.all([next(socket, "status_update"), next(socket, "notification")]);
    const status = { sessionId: "s7", userId: "ada", status: "processing", progress: 50 };
    const notice = { userId: "ada", type: "info", title: "T", message: "M" };
    await command(backend, server.prefix, "status_update", status);
    await command(backend, server.prefix, "notification", notice);
    assert.deepEqual(await both, [[status], [notice]]);
  });

  test("poison goes to the dead letters, with the reason", limit, async () => {
    const dead = await backend.connection.createChannel();
    await dead.prefetch(100);
    const letters = await consume(dead, `${server.prefix}.dead.q`);
    const poison = [
      ["emit", "{", {}, "INVALID_JSON"],
      ["emit", "{}", {}, "VALIDATION_FAILED"],
      ["emit", '{"event":"connect","to":{"all":true}}', {}, "VALIDATION_FAILED"],
      ["explode", "{}", {}, "UNKNOWN_VERB"],
      ["emit", "{}", { messageId: undefined }, "MESSAGE_ID_REQUIRED"],
      ["emit", "x", { contentType: "application/msgpack" }, "UNSUPPORTED_MEDIA_TYPE"],
      ["status_update", '{"sessionId":"s","status":"odd"}', {}, "VALIDATION_FAILED"],
      ["emit", '{"event":"e","to":{"all":true,"namespace":"/none"}}', {}, "NAMESPACE_NOT_FOUND"],
    ];
    for (const [type, body, options, code] of poison) {
      const answer = await command(backend, server.prefix, type, Buffer.from(body), {
        headers: { mine: type }, ...options,
      });
      assert.equal(answer.success, false, body);
      assert.equal(answer.error.code, code, body);
    }
    await letters.until(poison.length);
    const codes = letters.map(({ properties: { headers } }) => headers["x-sio-error-code"]);
    assert.deepEqual(codes.sort(), poison.map(([, , , code]) => code).sort());
    for (const { properties, content } of letters) {
      assert.ok(properties.headers["x-sio-error-message"].length > 3);
      const same = ([type, body]) => type === properties.headers.mine && body === String(content);
      assert.ok(poison.some(same), String(content));
    }
    await dead.close();
    const { messageCount } = await backend.channel.checkQueue(`${server.prefix}.commands.q`);
    assert.equal(messageCount, 0);
  });

  test("headers that are nested deeply end nobody", limit, async () => {
    let deep = true;
    for (let level = 0; level < 1_500; level += 1) deep = { "": deep };
    const socket = await server.user("ada");
    const heard = next(socket, "deep");
    const body = { event: "deep", args: [1], to: { users: ["ada"] } };
    const answer = await command(backend, server.prefix, "emit", body, { headers: { deep } });
    assert.equal(answer.success, true);
    assert.deepEqual(await heard, [1]);
    // And on their way to the dead letters.
    const broken = await command(backend, server.prefix, "explode", {}, { headers: { deep } });
    assert.equal(broken.error.code, "UNKNOWN_VERB");
  });

  test("a command that comes too late is not done", limit, async () => {
    const socket = await server.user("ada");
    const seen = [];
    socket.on("late", () => seen.push(1));
    const body = Buffer.from(JSON.stringify({ event: "late", to: { users: ["ada"] } }));
    backend.channel.publish(`${server.prefix}.commands`, "x", body, {
      type: "emit", messageId: randomUUID(), expiration: "60000",
      timestamp: Math.floor(Date.now() / 1000) - 61,
    });
    await command(backend, server.prefix, "emit", { event: "end", to: { users: ["ada"] } });
    assert.deepEqual(seen, []);
    assert.equal(await server.metric("amqp_expired_total"), 1);
  });

  test("the policies that are printed can be applied", limit, async () => {
    const run = promisify(execFile);
    const args = ["rabbitmq-policy", "--rabbitmq-prefix", server.prefix];
    const { stdout } = await run(BINARIES.corewire, args, { env: { PATH: process.env.PATH } });
    const [upTo42] = stdout.split("# RabbitMQ from 4.3");
    const lines = upTo42.split("\n").filter((line) => line.startsWith("rabbitmqctl "));
    assert.equal(lines.length, 3);
    for (const line of lines) {
      const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain);
      assert.match(await broker.ctl(...words.slice(1)), /Setting policy/);
    }
    // What matches no binding ends with the dead letters; an exchange of events has no such way
    // out, or nothing would ever be unroutable.
    const answer = await command(backend, server.prefix, "emit", { event: "x", to: { all: true } });
    assert.equal(answer.success, true);
  });

  test("facts are published in each client's order", limit, async () => {
    const facts = await consume(backend.channel, await worker(backend.channel, server.prefix, "#"));
    const socket = await server.user("fay", "s9");
    const connected = await facts.next();
    assert.equal(connected.fields.routingKey, "client.connected");
    socket.disconnect();
    const gone = await facts.next();
    assert.equal(gone.fields.routingKey, "client.disconnected");
    const body = JSON.parse(gone.content);
    assert.equal(body.client.userId, "fay");
    assert.equal(body.reason, "client namespace disconnect");
    assert.deepEqual([JSON.parse(connected.content).seq, body.seq], [1, 2]);
  });

  test("a python-socketio manager's messages are understood", limit, async () => {
    const socket = await server.user("ada");
    const spared = await server.user("ada");
    const seen = [];
    spared.on("py", () => seen.push(1));
    const heard = next(socket, "py");
    const message = {
      method: "emit", event: "py", data: [{ a: 1 }], binary: false, namespace: "/",
      room: "user:ada", skip_sid: spared.id, callback: null, host_id: "0".repeat(32),
    };
    backend.channel.publish("socketio", "", Buffer.from([0x80, 0x04, 0x95]));
    backend.channel.publish("socketio", "", Buffer.from(JSON.stringify(message)));
    assert.deepEqual(await heard, [{ a: 1 }]);
    assert.deepEqual(seen, []);
    assert.equal(await server.metric("amqp_python_refused_total"), 1, "the pickle is counted");
  });

  /** A program of a manager of python-socketio emits an object, then a text with bytes. */
  async function emitsThroughUs(t, event, program) {
    if (!existsSync(PYTHON)) return t.skip("tests/run setup makes the Python environment");
    const socket = await server.user("ada");
    const heard = collect(socket, event, 2);
    await promisify(execFile)(PYTHON, ["-c", program, `${broker.url}//`]);
    const [[object], [text, bytes]] = await heard;
    assert.deepEqual(object, { a: [1, null] });
    assert.equal(text, "two");
    assert.deepEqual([...bytes], [0, 255]);
    return undefined;
  }

  test("python-socketio's own write-only manager emits through us", limit, (t) =>
    emitsThroughUs(t, "kombu", `
import socketio, sys
manager = socketio.KombuManager(sys.argv[1], write_only=True)
manager.emit("kombu", {"a": [1, None]}, room="user:ada")
manager.emit("kombu", ("two", b"\\x00\\xff"), room="user:ada")
`));

  test("python-socketio's manager by aio-pika emits through us", limit, (t) =>
    emitsThroughUs(t, "pika", `
import asyncio, socketio, sys
async def main():
    manager = socketio.AsyncAioPikaManager(sys.argv[1], write_only=True)
    await manager.emit("pika", {"a": [1, None]}, room="user:ada")
    await manager.emit("pika", ("two", b"\\x00\\xff"), room="user:ada")
asyncio.run(main())
`));

  test("more messages of managers at once than are carried out at a time", limit, async () => {
    const socket = await server.user("ada");
    const heard = collect(socket, "many", 2_000, 30_000);
    const before = await server.metric("amqp_python_total");
    for (let n = 0; n < 2_000; n += 1) {
      const message = { method: "emit", event: "many", data: [n], namespace: "/", room: "user:ada" };
      backend.channel.publish("socketio", "", Buffer.from(JSON.stringify(message)));
    }
    assert.deepEqual((await heard).map(([n]) => n), Array.from({ length: 2_000 }, (_, n) => n));
    assert.equal(await server.metric("amqp_python_total"), before + 2_000);
    // A bound that is not acknowledged would end here: the queue holds nothing back.
    await eventually("the broker has heard that all are done", async () => {
      const text = await broker.ctl("-q", "list_queues", "name", "messages_unacknowledged");
      return text.split("\n").filter((line) => /^amq\.gen/.test(line)).every((line) => /\s0$/.test(line));
    });
  });

  test("dead answers are kept until the broker has them", limit, async () => {
    const names = (await broker.ctl("-q", "list_queues", "name")).split("\n");
    const replies = names.find((name) => name.startsWith(`${server.prefix}.replies.`)).trim();
    const dead = await backend.connection.createChannel();
    const { messageCount: before } = await dead.checkQueue(`${server.prefix}.dead.q`);
    for (let n = 0; n < 600; n += 1) {
      backend.channel.sendToQueue(replies, Buffer.from("{}"), { correlationId: `nobody${n}` });
    }
    await eventually("all are with the dead letters", async () => {
      return (await dead.checkQueue(`${server.prefix}.dead.q`)).messageCount === before + 600;
    }, 20_000);
    assert.equal((await dead.checkQueue(replies)).messageCount, 0);
    await dead.close();
  });

  test("a queue that is deleted is made again", limit, async () => {
    const socket = await server.user("ada");
    await backend.channel.deleteQueue(`${server.prefix}.commands.q`);
    await eventually("the queue is there again", async () => {
      const probe = await backend.connection.createChannel();
      probe.on("error", () => {});
      const { consumerCount } = await probe.checkQueue(`${server.prefix}.commands.q`);
      await probe.close();
      return consumerCount === 1;
    });
    const heard = next(socket, "again");
    await command(backend, server.prefix, "emit", { event: "again", to: { users: ["ada"] } });
    await heard;
    assert.deepEqual(server.log.filter((line) => /error/.test(line)), []);
  });
});

describe("what is configured wrongly", () => {
  const misconfigured = async (server, why) => {
    await eventually("it is said", async () => {
      const { publisher, consumer } = await server.links();
      return publisher.state === "misconfigured" && consumer.state === "misconfigured";
    });
    const said = () => server.log.filter((line) => /given up/.test(line));
    await eventually("both say so", async () => said().length >= 2);
    const lines = said();
    assert.equal(lines.length, 2, server.log.join("\n"));
    for (const line of lines) assert.match(line, why);
    const { status, body } = await rest(server.admin, "GET", "/readyz");
    assert.deepEqual([status, body.error.code], [503, "BRIDGE_DOWN"]);
    const socket = await server.user("ada", "s1");
    const [answer] = await ask(socket, "ai_request", request("1"));
    assert.equal(answer.error.code, "BROKER_UNAVAILABLE");
    assert.ok(answer.error.retryAfterMs > 0);
    server.client.closeAll();
    await server.stop();
  };

  test("a topology that is missing where it is only looked for", limit, async () => {
    const server = await gateway(["--rabbitmq-declare", "passive", "--rabbitmq-required"]);
    await misconfigured(server, /NOT_FOUND/);
  });

  test("a queue that has other arguments", limit, async () => {
    const { channel, close } = await broker.client();
    await channel.assertQueue("odd.commands.q", { durable: true });
    await close();
    const server = await gateway(["--rabbitmq-required"], { prefix: "odd" });
    await misconfigured(server, /PRECONDITION_FAILED/);
  });

  test("a password that is wrong, which is never shown", limit, async () => {
    const url = broker.url.replace("guest:guest", "guest:hush-hush");
    const server = await gateway(["--rabbitmq-required"], { url });
    await misconfigured(server, /ACCESS_REFUSED/);
    assert.ok(!server.log.join("\n").includes("hush-hush"));
  });

  test("a route without a broker stops the start with one line", limit, async () => {
    const file = join(folder, "none.toml");
    writeFileSync(file, ROUTES);
    await assert.rejects(startServer("corewire", ["--config", file]), /COREWIRE_RABBITMQ_URL/);
  });
});

