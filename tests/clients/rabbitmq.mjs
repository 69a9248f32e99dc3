// What both files of RabbitMQ tests need: a broker, gateways with names of their own there, and
// the ways of a back end with amqplib.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { Broker } from "./broker.mjs";
import { Client, eventually, rest, startServer, succeeded, within } from "./lib.mjs";

export const limit = { timeout: 60_000 };
export const long = { timeout: 120_000 };
export const folder = mkdtempSync(join(tmpdir(), "corewire-rabbitmq-"));
export let broker;
let prefixes = 0;
const servers = new Set();

before(async () => {
  broker = await Broker.start();
}, long);
after(async () => {
  for (const server of servers) {
    server.client.closeAll();
    server.child.kill("SIGKILL");
  }
  await broker?.stop();
  rmSync(folder, { recursive: true, force: true });
}, long);

export const ROUTES = `
[[routes]]
event = "ai_request"
to = "rabbitmq"
routing_key = "ai.request.{args.0.toolId}"

[[routes]]
event = "compute"
to = "rabbitmq"
ack = "reply"
timeout_ms = 3000

[[routes]]
event = "nobody"
to = "rabbitmq"
`;

/** A gateway with names of its own at the broker, so that tests do not meet. */
export async function gateway(flags = [], { prefix = `t${(prefixes += 1)}`, url = broker.url } = {}) {
  const file = join(folder, `${prefix}.toml`);
  writeFileSync(file, ROUTES);
  const server = await startServer(
    "corewire",
    ["--config", file, "--rabbitmq-prefix", prefix, "--cors-origin", "*", ...flags],
    { COREWIRE_RABBITMQ_URL: url },
  );
  servers.add(server);
  server.prefix = prefix;
  server.client = new Client("sio4", server.url);
  server.user = (userId, sessionId) =>
    server.client.connect("/", { auth: { userId, sessionId }, transports: ["websocket"] });
  server.links = async () => {
    const { bridges } = succeeded(await rest(server.admin, "GET", "/socket/health"));
    return {
      publisher: bridges["rabbitmq publisher"],
      consumer: bridges["rabbitmq consumer"],
    };
  };
  server.linked = (state) =>
    eventually(`both links are ${state}`, async () => {
      const { publisher, consumer } = await server.links();
      return publisher.state === state && consumer.state === state;
      // The longest wait between two tries is 30 s, and a broker that starts fails some of them.
    }, 45_000);
  server.metric = async (name) => {
    const { text } = await rest(server.admin, "GET", "/metrics");
    const lines = text.split("\n").filter((line) => new RegExp(`^corewire_${name}[ {]`).test(line));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  };
  return server;
}

/** A queue of a back end, bound to events of a gateway. */
export async function worker(channel, prefix, key, options = { exclusive: true }) {
  const { queue } = await channel.assertQueue("", options);
  await channel.bindQueue(queue, `${prefix}.events`, key);
  return queue;
}

/** Messages of a queue as they come. */
export async function consume(channel, queue, options = { noAck: true }) {
  const got = [];
  const waiting = [];
  await channel.consume(queue, (message) => {
    got.push(message);
    waiting.splice(0).forEach((wake) => wake());
  }, options);
  got.next = async () => {
    while (!got.length) await within(new Promise((done) => waiting.push(done)), "a message");
    return got.shift();
  };
  got.until = async (count, ms = 20_000) => {
    const end = Date.now() + ms;
    while (got.length < count && Date.now() < end) {
      await within(new Promise((done) => waiting.push(done)), `${count} messages`, ms)
        .catch((error) => { throw new Error(`${error.message} (${got.length} came)`); });
    }
    return got;
  };
  return got;
}

export const request = (requestId, toolId = "tool1", sessionId = "s1") =>
  ({ toolId, message: "Hello!", requestId, sessionId });

/** Sends a command and gives its answer. */
export async function command(backend, prefix, type, body, options = {}) {
  const { queue } = await backend.channel.assertQueue("", { exclusive: true });
  const answers = await consume(backend.channel, queue);
  const content = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  backend.channel.publish(`${prefix}.commands`, type ?? "x", content, {
    type, messageId: randomUUID(), replyTo: queue, correlationId: "c1", persistent: true, ...options,
  });
  const answer = await answers.next();
  assert.equal(answer.properties.correlationId, options.correlationId ?? "c1");
  return JSON.parse(answer.content);
}

