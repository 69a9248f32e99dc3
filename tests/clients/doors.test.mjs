// The doors for back ends as somebody uses them who means ill, or whose program has a bug: one
// client, one message or one answer must harm nobody else.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { ask } from "./lib.mjs";
import { broker, command, consume, gateway, limit, worker } from "./rabbitmq.mjs";

describe("messages that a broker does not take", () => {
  let server;
  let backend;
  before(async () => {
    server = await gateway();
    await server.linked("up");
    backend = await broker.client();
  });
  afterEach(() => server.client.closeAll());
  after(async () => {
    await backend.close();
    await server.stop();
  });
  const dead = async () => {
    const channel = await backend.connection.createChannel();
    return { letters: await consume(channel, `${server.prefix}.dead.q`), close: () => channel.close() };
  };
  const connects = () => server.metric("amqp_connects_total");

  test("a client's requestId of any length breaks no connection", limit, async () => {
    const jobs = await consume(backend.channel, await worker(backend.channel, server.prefix, "compute"));
    const before = await connects();
    const mallory = await server.user("mallory");
    const requestId = "r".repeat(200_000);
    const asked = ask(mallory, "compute", { requestId });
    const job = await jobs.next();
    assert.equal(job.properties.headers["x-sio-request-id"], undefined, "a header has no room for it");
    assert.equal(JSON.parse(job.content).requestId, requestId);
    backend.channel.sendToQueue(job.properties.replyTo, Buffer.from("1"), {
      correlationId: job.properties.correlationId,
    });
    assert.deepEqual(await asked, [1]);
    assert.equal(await connects(), before);
  });

  test("a command is refused with a reason that fits into a header", limit, async () => {
    const before = await connects();
    const { letters, close } = await dead();
    const odd = { to: { all: true }, event: "e", ["x".repeat(300_000)]: 1 };
    const answer = await command(backend, server.prefix, "emit", odd);
    assert.equal(answer.error.code, "VALIDATION_FAILED");
    const letter = await letters.next();
    assert.equal(letter.properties.headers["x-sio-error-code"], "VALIDATION_FAILED");
    assert.ok(letter.properties.headers["x-sio-error-message"].length <= 1_024);
    await close();
    assert.equal(await connects(), before);
  });

  test("an answer that is none takes nobody's place", limit, async () => {
    const jobs = await consume(backend.channel, await worker(backend.channel, server.prefix, "compute"));
    const { letters, close } = await dead();
    const socket = await server.user("ada");
    const asked = ask(socket, "compute", 1);
    const { properties: { replyTo, correlationId } } = await jobs.next();
    const many = JSON.stringify(Array.from({ length: 11 }, () => ({ $b64: "QQ" })));
    const wrong = [
      ["{", {}], ["1 2", {}], ["", {}], ['{"$b64":"?"}', {}], [many, {}],
      ["1", { "x-sio-error-code": "no such code" }],
      ["1", { "x-sio-error-code": "E".repeat(1_000) }],
    ];
    for (const [text, headers] of wrong) {
      backend.channel.sendToQueue(replyTo, Buffer.from(text), { correlationId, headers });
    }
    backend.channel.sendToQueue(replyTo, Buffer.from('{"right":{"$b64":"_w"}}'), { correlationId });
    const [answer] = await asked;
    assert.deepEqual([...answer.right], [255]);
    await letters.until(wrong.length);
    for (const { properties: { headers } } of letters) {
      assert.equal(headers["x-sio-error-code"], "VALIDATION_FAILED");
    }
    await close();
  });
});
