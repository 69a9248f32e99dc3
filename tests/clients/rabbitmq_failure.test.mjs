// RabbitMQ when something fails: the broker is killed, blocked, silent; the gateway is killed or
// drains. Counted is what was promised: nothing accepted is lost, no command is done twice.

import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { ask, eventually, next, rest, within } from "./lib.mjs";
import { broker, folder, gateway, long, request } from "./rabbitmq.mjs";

/** A durable queue for a gateway's ai_requests, which outlives the broker. */
async function durable(prefix) {
  const backend = await broker.client();
  const queue = `${prefix}.work`;
  // Not a quorum queue: one that is declared shortly before its broker is killed has no leader
  // afterwards, and what is published to it is never confirmed.
  await backend.channel.assertQueue(queue, { durable: true });
  await backend.channel.bindQueue(queue, `${prefix}.events`, "ai.request.#");
  await backend.close();
  return queue;
}

/** All that a queue holds by now. */
async function drained(queue) {
  const backend = await broker.client();
  const got = [];
  for (;;) {
    const message = await backend.channel.get(queue, { noAck: true });
    if (!message) break;
    got.push(message);
  }
  await backend.close();
  return got;
}

describe("a broker that fails", { concurrency: false }, () => {
  test("killed and started again under load: no accepted request is lost", long, async () => {
    const server = await gateway();
    await server.linked("up");
    const queue = await durable(server.prefix);
    const sockets = await Promise.all(
      Array.from({ length: 4 }, (_, n) => server.user(`user${n}`, `s${n}`)),
    );
    const answers = [];
    const failures = [];
    // So many requests are wanted by now; whoever is ahead waits.
    let wanted = 300;
    const waiting = [];
    const want = async (count) => {
      wanted = count;
      waiting.splice(0).forEach((wake) => wake());
      await eventually(`${count} requests`, async () => answers.length >= count, 20_000);
    };
    const load = sockets.map(async (socket, who) => {
      for (let n = 0; wanted && !failures.length; n += 1) {
        const batch = Array.from({ length: 5 }, (_, k) => {
          return ask(socket, "ai_request", request(`${who}-${n}-${k}`, "load", `s${who}`));
        });
        for (const [answer] of await Promise.all(batch)) {
          (answer.success ? answers : failures).push(answer);
        }
        while (answers.length >= wanted && wanted) await new Promise((wake) => waiting.push(wake));
      }
    });
    await want(300);
    const more = want(2000);
    await broker.kill();
    await more;
    const { status } = await rest(server.admin, "GET", "/readyz");
    assert.equal(status, 200, "a broker that is not required does not make it unready");
    const queued = answers.filter((answer) => answer.status === "queued").length;
    assert.ok(queued > 100, `${queued} queued`);
    await broker.up();
    await server.linked("up");
    await want(answers.length + 300);
    wanted = 0;
    waiting.splice(0).forEach((wake) => wake());
    await Promise.all(load);
    assert.deepEqual(failures, []);
    await eventually("the spool is empty", async () => {
      const waiting = await server.metric("amqp_spool_messages");
      return waiting + (await server.metric("amqp_in_flight")) === 0;
    }, 30_000);
    const got = await drained(queue);
    const ids = got.map(({ properties }) => properties.messageId);
    const unique = new Set(ids);
    for (const { messageId } of answers) assert.ok(unique.has(messageId), `${messageId} is lost`);
    assert.equal(unique.size, answers.length);
    // What was under way may have arrived before the broker died; it says so itself.
    const twice = got.filter(({ properties }, at) => ids.indexOf(properties.messageId) !== at);
    for (const { properties } of twice) assert.equal(properties.headers["x-sio-republish"], 1);
    const order = new Map();
    for (const { properties } of got) {
      if (properties.headers["x-sio-republish"]) continue;
      const { "x-sio-sid": sid, "x-sio-seq": seq } = properties.headers;
      assert.ok((order.get(sid) ?? 0) < seq, `${sid}: ${seq} after ${order.get(sid)}`);
      order.set(sid, seq);
    }
    console.log(`# ${answers.length} taken, ${twice.length} delivered twice, marked as such`);
    server.client.closeAll();
    await server.stop();
  });

  test("killed with commands under way: each is done once", long, async () => {
    const server = await gateway();
    await server.linked("up");
    const socket = await server.user("ada");
    const seen = new Map();
    socket.on("n", (n) => seen.set(n, (seen.get(n) ?? 0) + 1));
    const confirmed = new Set();
    let sent = 0;
    const publish = async (backend, count) => {
      const all = Array.from({ length: count }, async () => {
        const n = (sent += 1);
        const body = JSON.stringify({ event: "n", args: [n], to: { users: ["ada"] } });
        const options = { type: "emit", messageId: `n${n}`, persistent: true };
        await new Promise((done) => {
          backend.channel.publish(`${server.prefix}.commands`, "x", Buffer.from(body), options, (error) => {
            if (!error) confirmed.add(n);
            done();
          });
        });
      });
      await Promise.race([Promise.all(all), new Promise((done) => backend.connection.once("close", done))]);
    };
    const backend = await broker.client();
    const first = publish(backend, 3000);
    await eventually("some are done", async () => seen.size > 200);
    await broker.kill();
    await first;
    await broker.up();
    await server.linked("up");
    const again = await broker.client();
    await publish(again, 200);
    await again.close();
    await eventually("all that were confirmed are done", async () => {
      return [...confirmed].every((n) => seen.has(n));
    }, 20_000);
    assert.deepEqual([...seen].filter(([, times]) => times > 1), []);
    console.log(`# ${confirmed.size} confirmed, ${seen.size} done, none twice`);
    server.client.closeAll();
    await server.stop();
  });

  test("a memory alarm blocks the publisher, and nothing else", long, async () => {
    const server = await gateway();
    await server.linked("up");
    const queue = await durable(server.prefix);
    const socket = await server.user("ada", "s1");
    await broker.ctl("set_vm_memory_high_watermark", "0");
    const first = ask(socket, "ai_request", request("1"));
    await eventually("it is blocked", async () => {
      return (await server.links()).publisher.state === "blocked";
    });
    const [second] = await ask(socket, "ai_request", request("2"));
    assert.equal(second.status, "queued");
    assert.equal((await first)[0].status, "queued");
    const [pong] = await Promise.all([next(socket, "pong"), socket.emit("ping")]);
    assert.ok(pong[0].timestamp > 0);
    assert.equal((await server.links()).consumer.state, "up");
    await broker.ctl("set_vm_memory_high_watermark", "0.4");
    await server.linked("up");
    await eventually("both arrive", async () => (await server.metric("amqp_published_total")) === 2);
    const ids = (await drained(queue)).map(({ properties }) => properties.headers["x-sio-request-id"]);
    assert.deepEqual(ids, ["1", "2"]);
    server.client.closeAll();
    await server.stop();
  });

  test("a full spool refuses at once, and says when to come again", long, async () => {
    const server = await gateway(["--rabbitmq-spool-messages-max", "2", "--rabbitmq-required"]);
    await server.linked("up");
    const queue = await durable(server.prefix);
    const socket = await server.user("ada", "s1");
    await broker.kill();
    await server.linked("down");
    assert.equal((await rest(server.admin, "GET", "/readyz")).status, 503);
    const answers = [];
    for (const id of ["1", "2", "3"]) {
      answers.push((await ask(socket, "ai_request", request(id)))[0]);
    }
    assert.deepEqual(answers.map(({ status }) => status), ["queued", "queued", undefined]);
    assert.equal(answers[2].error.code, "BROKER_UNAVAILABLE");
    assert.ok(answers[2].error.retryable && answers[2].error.retryAfterMs > 0);
    await broker.up();
    await server.linked("up");
    await eventually("both arrive", async () => (await server.metric("amqp_published_total")) === 2);
    assert.equal((await drained(queue)).length, 2);
    assert.equal((await rest(server.admin, "GET", "/readyz")).status, 200);
    server.client.closeAll();
    await server.stop();
  });

  test("a spool in a folder outlives a server that is killed", long, async () => {
    const spool = ["--rabbitmq-spool-file", join(folder, "spool")];
    const server = await gateway(spool);
    await server.linked("up");
    const queue = await durable(server.prefix);
    const socket = await server.user("ada", "s1");
    await broker.kill();
    await server.linked("down");
    const queued = [];
    for (const id of ["1", "2", "3"]) {
      queued.push((await ask(socket, "ai_request", request(id)))[0].messageId);
    }
    server.client.closeAll();
    await server.stop();
    await broker.up();
    const heir = await gateway(spool, { prefix: server.prefix });
    await eventually("all arrive", async () => (await heir.metric("amqp_published_total")) === 3);
    const ids = (await drained(queue)).map(({ properties }) => properties.messageId);
    assert.deepEqual(ids, queued);
    await heir.stop();
  });

  test("a broker that says nothing: queued, and late no worker", long, async () => {
    const server = await gateway(["--rabbitmq-confirm-timeout", "300"]);
    await server.linked("up");
    const queue = await durable(server.prefix);
    const socket = await server.user("ada", "s1");
    broker.freeze(true);
    const [answer] = await ask(socket, "ai_request", request("1"));
    broker.freeze(false);
    assert.equal(answer.status, "queued");
    await eventually("it arrives", async () => (await server.metric("amqp_published_total")) === 1);
    assert.equal((await drained(queue)).length, 1);
    server.client.closeAll();
    await server.stop();
  });

  test("a server that drains finishes what it holds and leaves the rest", long, async () => {
    const server = await gateway();
    await server.linked("up");
    const heir = await gateway([], { prefix: server.prefix });
    await heir.linked("up");
    const seen = new Map();
    for (const one of [server, heir]) {
      const socket = await one.user("ada");
      socket.on("n", (n) => seen.set(n, (seen.get(n) ?? 0) + 1));
    }
    const backend = await broker.client();
    for (let n = 0; n < 2000; n += 1) {
      const body = JSON.stringify({ event: "n", args: [n], to: { users: ["ada"] } });
      const options = { type: "emit", messageId: `d${n}` };
      backend.channel.publish(`${server.prefix}.commands`, "x", Buffer.from(body), options);
      if (n === 500) server.child.kill("SIGTERM");
    }
    await backend.channel.waitForConfirms();
    await eventually("nothing is left", async () => {
      const { messageCount } = await backend.channel.checkQueue(`${server.prefix}.commands.q`);
      return messageCount === 0 && (await heir.metric("amqp_commands_held")) === 0;
    }, 20_000);
    await within(server.exited, "the drained server to end", 20_000);
    const { text } = await rest(heir.admin, "GET", "/metrics");
    assert.match(text, /corewire_amqp_commands_total/);
    assert.deepEqual([...seen].filter(([, times]) => times > 1), []);
    await backend.close();
    heir.client.closeAll();
    server.client.closeAll();
    await heir.stop();
  });
});
