// RabbitMQ between several processes: two gateways on one command queue, a core that is behind,
// and a broker that is reached by TLS.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { collect, eventually, next, rest, succeeded, within } from "./lib.mjs";
import { Broker } from "./broker.mjs";
import { broker, command, folder, gateway, limit, long } from "./rabbitmq.mjs";

/** Publishes emits of "n" from a number on, which are answered; what came back, by number. */
async function flood(backend, prefix, count, to, during = () => {}, from = 0) {
  const { queue } = await backend.channel.assertQueue("", { exclusive: true });
  const answers = new Map();
  await backend.channel.consume(queue, ({ properties, content }) => {
    const n = Number(properties.correlationId);
    answers.set(n, [...(answers.get(n) ?? []), JSON.parse(content)]);
  }, { noAck: true });
  for (let n = from; n < from + count; n += 1) {
    backend.channel.publish(`${prefix}.commands`, "emit", Buffer.from(JSON.stringify({ event: "n", args: [n], to })), {
      type: "emit", messageId: `${prefix}-${n}`, correlationId: String(n), replyTo: queue, persistent: true,
    });
    if (n % 50 === 0) await backend.channel.waitForConfirms();
    during(n);
  }
  await backend.channel.waitForConfirms();
  return answers;
}

/** Two gateways with the same names at the broker, and a socket of the same user at each. */
async function pair(flags = []) {
  const one = await gateway(flags);
  await one.linked("up");
  const two = await gateway(flags, { prefix: one.prefix });
  await two.linked("up");
  const heard = new Map();
  const sockets = await Promise.all([one, two].map((server) => server.user("ada")));
  sockets.forEach((socket, at) => {
    socket.on("n", (n) => heard.set(n, [...(heard.get(n) ?? []), at]));
  });
  const backend = await broker.client();
  const end = async (...left) => {
    await backend.close();
    for (const server of [one, two]) server.client.closeAll();
    for (const server of left) await server.stop();
  };
  return { one, two, sockets, heard, backend, end };
}

describe("two gateways on one command queue", { concurrency: false }, () => {
  test("a command is done once, by one of them, for the sockets it has", long, async () => {
    const { one, two, heard, backend, end } = await pair();
    for (const server of [one, two]) {
      const body = { to: { users: ["ada"] }, rooms: ["team"] };
      succeeded(await rest(server.admin, "POST", "/api/v1/join", body));
    }
    const answers = await flood(backend, one.prefix, 400, { rooms: ["team"] });
    await eventually("all are answered", async () => answers.size === 400, 20_000);
    await eventually("all are heard", async () => heard.size === 400);
    for (const [n, told] of answers) {
      assert.deepEqual(told.map(({ data }) => data.matched), [1], `${n}: once, and one of the two`);
    }
    assert.deepEqual([...heard].filter(([, at]) => at.length !== 1), [], "by one of the two");
    const shares = await Promise.all([one, two].map((server) => server.metric("amqp_commands_total")));
    assert.equal(shares[0] + shares[1], 400);
    assert.ok(shares[0] > 0 && shares[1] > 0, `${shares}`);
    await end(one, two);
  });

  test("a message of a python-socketio manager reaches the sockets of both", limit, async () => {
    const { one, two, sockets, backend, end } = await pair(["--rabbitmq-python-channel", "shared"]);
    const both = Promise.all(sockets.map((socket) => next(socket, "all")));
    const message = { method: "emit", event: "all", data: [1], namespace: "/", room: "user:ada" };
    backend.channel.publish("shared", "", Buffer.from(JSON.stringify(message)));
    assert.deepEqual(await both, [[1], [1]]);
    await end(one, two);
  });

  test("an exchange before both of them reaches the sockets of both", limit, async () => {
    const gateways = await Promise.all([gateway(), gateway()]);
    const backend = await broker.client();
    await backend.channel.assertExchange("everywhere", "fanout", { durable: true });
    const heard = [];
    for (const server of gateways) {
      await server.linked("up");
      await backend.channel.bindExchange(`${server.prefix}.commands`, "everywhere", "");
      heard.push(next(await server.user("ada"), "all"));
    }
    const content = Buffer.from(JSON.stringify({ event: "all", args: [2], to: { users: ["ada"] } }));
    backend.channel.publish("everywhere", "emit", content, { type: "emit", messageId: "m1" });
    assert.deepEqual(await Promise.all(heard), [[2], [2]]);
    await backend.close();
    for (const server of gateways) {
      server.client.closeAll();
      await server.stop();
    }
  });

  test("one of them drains: nothing is lost, and nothing done twice", long, async () => {
    const { one, two, heard, backend, end } = await pair();
    const answers = await flood(backend, one.prefix, 1500, { users: ["ada"] }, (n) => {
      if (n === 500) two.child.kill("SIGTERM");
    });
    await eventually("all are answered", async () => answers.size === 1500, 30_000);
    await within(two.exited, "the drained one to end", 20_000);
    for (const [n, told] of answers) assert.deepEqual(told.map(({ success }) => success), [true], `${n}`);
    const reached = [...answers].filter(([, [{ data }]]) => data.matched > 0).map(([n]) => n);
    await eventually("they are heard", async () => reached.every((n) => heard.has(n)));
    assert.deepEqual([...heard].filter(([, at]) => at.length > 1), []);
    await end(one);
  });

  test("one of them is killed: the other does what it held", long, async () => {
    const { one, two, heard, backend, end } = await pair();
    const answers = await flood(backend, one.prefix, 1500, { users: ["ada"] }, (n) => {
      if (n === 500) two.child.kill("SIGKILL");
    });
    await eventually("all are answered", async () => answers.size === 1500, 30_000);
    // What it had done and not acknowledged the other cannot know of.
    const twice = [...answers].filter(([, told]) => told.length > 1).length;
    assert.ok(twice <= 256, `${twice}: as many as are fetched ahead at most`);
    assert.deepEqual([...heard].filter(([, at]) => at.filter((who) => who === 0).length > 1), []);
    const { messageCount } = await backend.channel.checkQueue(`${one.prefix}.commands.q`);
    assert.equal(messageCount, 0);
    await end(one);
  });
});

/** Takes nearly all time from a server's worker, until it is told to stop. */
async function starve(server) {
  const tasks = `/proc/${server.pid}/task`;
  const [tid] = readdirSync(tasks).filter((tid) => /^worker/.test(readFileSync(`${tasks}/${tid}/comm`, "utf8")));
  const cpu = String(availableParallelism() - 1);
  const { execPath } = process;
  const script = "process.stdout.write('!', () => { for (;;); })";
  const greedy = spawn("taskset", ["-c", cpu, execPath, "-e", script], { stdio: ["ignore", "pipe", "ignore"] });
  process.once("exit", () => greedy.kill("SIGKILL"));
  // Until it takes time, nobody lacks any.
  await next(greedy.stdout, "data", 30_000);
  // The kernel's lowest class: it runs when nobody else wants the CPU, and hardly ever otherwise.
  execFileSync("taskset", ["-p", "-c", cpu, tid]);
  execFileSync("chrt", ["-i", "-p", "0", tid]);
  return () => {
    if (!greedy.kill("SIGKILL")) return;
    // Others may want this CPU, too: the worker gets its share again, wherever there is some.
    execFileSync("chrt", ["-o", "-p", "0", tid]);
    execFileSync("taskset", ["-p", "-c", `0-${cpu}`, tid]);
  };
}

describe("a core that gets no time", () => {
  test("commands are put off and done later, and fewer are fetched meanwhile", { timeout: 240_000 }, async () => {
    const flags = ["--mesh-batches-max", "16", "--rabbitmq-prefetch", "64", "--rabbitmq-prefetch-low", "8"];
    const server = await gateway([...flags, "--workers", "1"]);
    await server.linked("up");
    const prefetch = async () => {
      const text = await broker.ctl("-q", "list_consumers", "queue_name", "prefetch_count");
      const line = text.split("\n").find((one) => one.startsWith(`${server.prefix}.commands.q`));
      return Number(line?.split(/\s+/)[1]);
    };
    assert.equal(await prefetch(), 64);
    const socket = await server.user("ada");
    const heard = new Map();
    socket.on("n", (n) => heard.set(n, (heard.get(n) ?? 0) + 1));
    const feed = await starve(server);
    const backend = await broker.client();
    const to = { users: ["ada"] };
    const told = [];
    let count = 0;
    const more = async (some) => {
      const from = count;
      count += some;
      told.push(await flood(backend, server.prefix, some, to, undefined, from));
    };
    try {
      await more(200);
      await eventually("some are put off", async () => {
        // Its own listener answers from another thread than the worker's.
        if ((await server.metric("amqp_retried_total")) > 0) return true;
        // Idle for the rest, a machine may give it the time for all of these.
        await more(50);
        return false;
      }, 30_000);
      await eventually("fewer are fetched", async () => {
        // As long as commands come that it has no time for: what is put off is not there to be seen.
        await more(20);
        return (await prefetch()) === 8;
      }, 20_000);
      feed();
      // Whoever was put off three times comes again after a minute.
      await eventually("all are done", async () => heard.size === count, 100_000);
      const answered = () => told.reduce((sum, answers) => sum + answers.size, 0);
      await eventually("all are answered", async () => answered() === count, 20_000);
      for (const answers of told) {
        for (const one of answers.values()) assert.equal(one.at(-1).success, true);
      }
      await eventually("as many as before are fetched", async () => (await prefetch()) === 64, 20_000);
    } finally {
      feed();
    }
    const put = await server.metric("amqp_retried_total");
    console.log(`# put off ${put} times; done twice: ${[...heard.values()].filter((n) => n > 1).length}`);
    await backend.close();
    server.client.closeAll();
    await server.stop();
  });
});

/** A certificate authority of its own, and a certificate of 127.0.0.1 by it. */
function certificates(name) {
  const at = (file) => join(folder, `${name}-${file}`);
  const config = at("openssl.cnf");
  writeFileSync(config, `
[req]
distinguished_name = nobody
[nobody]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
`);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const make = (file, section, ...more) => execFileSync("openssl", [
    "req", "-x509", "-config", config, "-extensions", section, ...key, "-days", "2",
    "-subj", `/CN=${name} ${section}`, "-keyout", at(`${file}.key`), "-out", at(`${file}.pem`), ...more,
  ], { stdio: "pipe" });
  make("ca", "authority");
  make("server", "server", "-CA", at("ca.pem"), "-CAkey", at("ca.key"));
  return { ca: at("ca.pem"), cert: at("server.pem"), key: at("server.key") };
}

describe("a broker by TLS", () => {
  test("its authority is trusted if the file says so, and no other", long, async () => {
    const [ours, theirs] = [certificates("ours"), certificates("theirs")];
    const secure = await Broker.start({ tls: ours });
    try {
      const url = secure.tlsUrl;
      const server = await gateway(["--rabbitmq-ca-file", ours.ca], { url });
      await server.linked("up");
      const socket = await server.user("ada");
      const heard = collect(socket, "sealed", 1);
      const backend = await secure.client();
      const answer = await command(backend, server.prefix, "emit", {
        event: "sealed", args: [1], to: { users: ["ada"] },
      });
      assert.equal(answer.data.matched, 1);
      assert.deepEqual(await heard, [[1]]);
      await backend.close();
      server.client.closeAll();
      await server.stop();

      for (const [flags, state, why] of [
        [["--rabbitmq-ca-file", theirs.ca], "down", /certificate/],
        [[], "down", /certificate/],
      ]) {
        const refused = await gateway(flags, { url });
        await refused.linked(state);
        const said = () => refused.log.filter((line) => /rabbitmq \w+ (down|given up)/.test(line));
        await eventually("a line for each connection", async () => said().length === 2);
        const lines = said();
        for (const line of lines) assert.match(line, why);
        const { publisher } = await refused.links();
        assert.match(publisher.why, why);
        await refused.stop();
      }
    } finally {
      await secure.stop();
    }
  });
});
