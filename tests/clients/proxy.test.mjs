// Behind nginx and Caddy, with the files of examples/proxy and nothing but other ports; and a
// restart without a gap, two processes on one port.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent } from "node:http";
import { connect } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  ask, Client, closeEverything, CONFORMANCE_FLAGS, eventually, freePort, metric, next, opening, rest,
  startServer, succeeded, terminate, TRANSPORTS, upgraded, within,
} from "./lib.mjs";
import { Traffic } from "./traffic.mjs";

const limit = { timeout: 60_000 };
const folder = mkdtempSync(join(tmpdir(), "corewire-proxy-"));
const examples = resolve(dirname(fileURLToPath(import.meta.url)), "../../examples/proxy");
process.on("exit", closeEverything);
after(() => {
  closeEverything();
  rmSync(folder, { recursive: true, force: true });
});

/** The example's text with other addresses; each must stand in it. */
function example(name, changes) {
  let text = readFileSync(join(examples, name), "utf8");
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), `${name} holds ${from}`);
    text = text.replaceAll(from, to);
  }
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

const port = (server) => new URL(server.url).port;

const PROXIES = {
  nginx: (at, [one, two]) => {
    const file = example("nginx.conf", [
      ["listen 80;", `listen 127.0.0.1:${at};`], ["worker_processes auto;", "worker_processes 1;"],
      ["127.0.0.1:3001", `127.0.0.1:${port(one)}`], ["127.0.0.1:3011", `127.0.0.1:${port(two)}`],
      ["http {", `http { access_log off; ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(" ")}`],
      ["worker_rlimit_nofile 65536;", ""], ["worker_connections 32768;", "worker_connections 1024;"],
    ]);
    const only = `daemon off; pid ${folder}/nginx.pid; error_log stderr;`;
    return ["nginx", ["-p", folder, "-c", file, "-e", "stderr", "-g", only]];
  },
  caddy: (at, [one, two]) => {
    const file = example("Caddyfile", [
      [":80 {", `http://127.0.0.1:${at} {`],
      ["127.0.0.1:3001", `127.0.0.1:${port(one)}`], ["127.0.0.1:3011", `127.0.0.1:${port(two)}`],
    ]);
    return ["caddy", ["run", "--config", file, "--adapter", "caddyfile"]];
  },
};

/** Starts a proxy in front of two servers and waits until it takes connections. */
async function proxy(name, servers) {
  const at = await freePort();
  const [program, args] = PROXIES[name](at, servers);
  const env = { ...process.env, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder,
    PATH: `${process.env.PATH}:/usr/sbin` };
  const child = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  // Not with a SIGKILL: the workers of nginx would outlive it, and hold its log.
  const end = () => child.kill("SIGTERM");
  const stopped = opening(end);
  let log = "";
  child.stderr.on("data", (text) => { log += text; });
  const ended = once(child, "exit").then(() => { throw new Error(`${name} ended:\n${log}`); });
  ended.catch(() => {});
  await Promise.race([ended, eventually(`${name} listens`, async () => {
    const socket = connect({ host: "127.0.0.1", port: at });
    await once(socket, "connect");
    socket.destroy();
    return true;
  }, 20_000)]);
  return {
    url: `http://127.0.0.1:${at}`,
    stop: async () => {
      stopped();
      end();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

for (const name of Object.keys(PROXIES)) {
  describe(`behind ${name}`, { concurrency: false }, () => {
    let servers;
    let front;
    before(async () => {
      const start = () => startServer("conformance", CONFORMANCE_FLAGS);
      servers = [await start(), await start()];
      front = await proxy(name, servers);
    }, limit);
    after(async () => {
      await front?.stop();
      for (const server of servers ?? []) server.child.kill("SIGKILL");
    });

    /** A client with an address of its own, as far as the proxy can see. */
    const client = (n, options) => new Client("sio4", front.url, {
      ...options, agent: new Agent({ localAddress: `127.0.0.${n + 1}`, keepAlive: true }),
    });

    for (const [transport, options] of Object.entries(TRANSPORTS)) {
      test(`${transport}: answers, binary, large messages, pings, from 12 addresses`, limit, async () => {
        const clients = Array.from({ length: 12 }, (_, n) => client(n, options));
        const sockets = await Promise.all(clients.map((one) => one.connect()));
        const pings = sockets.map(async (socket) => {
          if (options.transports.length === 2) await upgraded(socket);
          await next(socket.io, "ping");
          await next(socket.io, "ping");
        });
        await Promise.all(sockets.map(async (socket, n) => {
          const bytes = Buffer.alloc(100_000, n);
          for (let turn = 0; turn < 10; turn += 1) {
            const [number, back] = await ask(socket, "message-with-ack", turn, bytes);
            assert.equal(number, turn);
            assert.ok(bytes.equals(Buffer.from(back)), "the bytes came back");
          }
          const large = "x".repeat(900_000);
          assert.deepEqual(await ask(socket, "message-with-ack", large), [large]);
        }));
        await Promise.all(pings);
        const sessions = await Promise.all(servers.map((one) => metric(one, "corewire_sessions")));
        assert.equal(sessions[0] + sessions[1], 12, `${sessions}`);
        // Caddy's hash of these addresses is its own affair.
        if (name === "nginx") assert.ok(sessions.every((count) => count > 0), `${sessions}`);
        for (const socket of sockets) assert.ok(socket.connected);
        clients.forEach((one) => one.closeAll());
        await eventually("they are gone", async () =>
          (await Promise.all(servers.map((one) => metric(one, "corewire_sessions")))).every((n) => !n));
      });
    }

    test("what a server sends comes at once, by polling too", limit, async () => {
      const one = client(1, { transports: ["polling"] });
      const socket = await one.connect();
      const heard = [];
      socket.on("seq", (n) => heard.push(n));
      for (let n = 0; n < 20; n += 1) {
        socket.emit("burst", 1, 10);
        await next(socket, "seq");
      }
      assert.equal(heard.length, 20);
      one.closeAll();
    });

    test("only the path of the clients is passed on", limit, async () => {
      for (const path of ["/healthz", "/metrics", "/socket/health"]) {
        const direct = await rest(servers[0].admin, "GET", path);
        assert.equal(direct.status, 200, path);
        const { status, text } = await rest(front.url, "GET", path);
        // An error page of nginx's own, or Caddy's empty answer.
        const own = name === "nginx" ? status >= 400 && text.includes("<center>nginx/") : text === "";
        assert.ok(own, `${path} is answered ${status}: ${text}`);
      }
      assert.equal((await rest(front.url, "GET", "/socket.io/?EIO=4&transport=polling")).status, 200);
    });

    test("limits count the client's address, whatever the client says of itself", limit, async () => {
      const server = await startServer("conformance", [...CONFORMANCE_FLAGS,
        "--trusted-proxies", "127.0.0.1", "--address-handshakes-per-s", "1",
        "--address-handshakes-burst", "2"]);
      const strict = await proxy(name, [server, server]);
      const from = (n, claims) => new Client("sio4", strict.url, {
        agent: new Agent({ localAddress: `127.0.0.${n}` }), transports: ["websocket"],
        extraHeaders: { "x-forwarded-for": claims, forwarded: `for=${claims}` },
      });
      const clients = ["9.9.9.1", "9.9.9.2", "9.9.9.3"].map((claims) => from(20, claims));
      await clients[0].connect();
      await clients[1].connect();
      await assert.rejects(clients[2].connect(), /refused/);
      const other = from(21, "9.9.9.4");
      await other.connect();
      assert.equal(await metric(server, "corewire_handshakes_limited_total"), 1);
      [...clients, other].forEach((one) => one.closeAll());
      await strict.stop();
      await server.stop();
    });

    test("one of two servers drains: its clients come back to the other one", limit, async () => {
      const traffic = new Traffic(front.url, { clients: 6 });
      await traffic.start();
      await traffic.more(100);
      const busy = (await metric(servers[0], "corewire_sessions")) > 0 ? 0 : 1;
      assert.equal(await terminate(servers[busy]), 0);
      await traffic.more(200);
      await traffic.stop();
      assert.ok(traffic.returns >= 6, `${traffic.returns} came back`);
    });
  });
}

/** Publishes numbered events by the REST of one process, one after the other, as long as it can. */
class Publisher {
  sent = 0;

  constructor(name, server) {
    Object.assign(this, { name, server });
    this.work = this.#publish();
  }

  async #publish() {
    while (!this.over) {
      const command = { to: { sessions: ["all"] }, event: "news", args: [this.name, this.sent] };
      const answer = await rest(this.server.admin, "POST", "/api/v1/emit", command).catch(() => null);
      // The last one before a process ends may have been published without an answer.
      if (!answer) return;
      assert.equal(answer.status, 200, answer.text);
      this.sent += 1;
    }
  }

  async stop() {
    this.over = true;
    await this.work;
  }
}

/** New clients, one after the other for as long as nobody stops it, and what each of them met. */
class Newcomers {
  came = 0;
  errors = [];

  constructor(url) {
    this.url = url;
    this.work = this.#come();
    this.work.catch(() => {});
  }

  async #come() {
    while (!this.over) {
      const client = new Client("sio4", this.url, {
        reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 200, transports: ["websocket"],
      });
      const socket = client.socket("/", { auth: { userId: `new${this.came}` } });
      socket.on("connect_error", (error) => this.errors.push(`${this.came}: ${error.message}`));
      const up = next(socket, "connect");
      socket.connect();
      await up;
      client.closeAll();
      this.came += 1;
    }
  }

  /** So many more come. */
  async more(count) {
    const wanted = this.came + count;
    const reached = eventually(`${count} more come`, async () => this.came >= wanted, 20_000);
    await Promise.race([reached, this.work]);
  }

  async stop() {
    this.over = true;
    await this.work;
  }
}

describe("a restart without a gap", { concurrency: false }, () => {
  for (const transport of ["websocket", "polling"]) {
    test(`two processes on one port, ${transport}: no connection is refused or reset, every event is answered`, limit, async () => {
      let server = await startServer("conformance", [...CONFORMANCE_FLAGS, "--drain", "3000"]);
      const { url } = server;
      const listen = url.slice("http://".length);
      const traffic = new Traffic(url, { clients: 12, transports: [transport] });
      await traffic.start();
      await traffic.more(100);
      for (const workers of ["2", "1"]) {
        const flags = [...CONFORMANCE_FLAGS, "--drain", "3000", "--takeover"];
        const successor = await startServer("conformance", flags, {}, { listen, workers });
        await traffic.more(50);
        assert.equal(await within(terminate(server), "the old one to end"), 0);
        await traffic.more(100);
        server = successor;
      }
      // A poll that reaches the process that does not have its session is answered 400.
      const met = (failure) => transport === "polling" && /^xhr (poll|post) error 400$/.test(failure);
      assert.deepEqual(traffic.failures.filter((failure) => !met(failure)), []);
      assert.ok(traffic.returns >= 24, `${traffic.returns} came back`);
      await traffic.stop();
      await server.stop();
    });
  }

  for (const [transport, behind] of [["websocket"], ["polling"], ["websocket", "nginx"], ["polling", "nginx"]]) {
    const where = behind ? `, behind ${behind}` : "";
    test(`${transport}${where}: sessions go along, and no event is lost whichever process publishes it`, limit, async () => {
      const flags = ["--recovery", "--drain", "8000", "--ping-interval", "300", "--ping-timeout", "5000"];
      let server = await startServer("corewire", flags, {}, { workers: "2" });
      const listen = server.url.slice("http://".length);
      const front = behind && await proxy(behind, [server, server]);
      const url = front?.url ?? server.url;
      const newcomers = new Newcomers(url);
      const client = new Client("sio4", url, {
        reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 200, transports: [transport],
      });
      const members = await Promise.all(Array.from({ length: 6 }, async (_, n) => {
        const socket = client.socket("/", { auth: { userId: `user${n}`, sessionId: "all" } });
        const member = { socket, heard: {}, returns: [] };
        socket.on("news", (name, number) => (member.heard[name] ??= []).push(number));
        await Client.up(socket);
        member.id = socket.id;
        socket.on("connect", () => member.returns.push(socket.recovered && socket.id === member.id));
        return member;
      }));
      const publishers = [new Publisher("first", server)];
      const heard = (name, count) => eventually(`${count} events of ${name}`, async () =>
        members.every((member) => member.heard[name]?.length >= count));
      await heard("first", 20);
      for (const [name, workers] of [["second", "1"], ["third", "2"]]) {
        const successor = await startServer("corewire", [...flags, "--takeover"], {}, { listen, workers });
        publishers.push(new Publisher(name, successor));
        await heard(name, 20);
        await newcomers.more(10);
        // The one that has nobody yet, or few, counts all.
        const command = { to: { sessions: ["all"] }, event: "counted" };
        await eventually("everybody is counted", async () =>
          succeeded(await rest(successor.admin, "POST", "/api/v1/emit", command)).matched === 6);
        assert.equal(await within(terminate(server), "the old one to end", 15_000), 0);
        await publishers.at(-2).work;
        await newcomers.more(10);
        server = successor;
      }
      await publishers.at(-1).stop();
      await newcomers.stop();
      assert.deepEqual(newcomers.errors, [], `of ${newcomers.came} new clients`);
      for (const { name, sent } of publishers) await heard(name, sent);
      for (const { heard, returns } of members) {
        for (const { name, sent } of publishers) {
          const unanswered = Number(heard[name].length === sent + 1);
          assert.deepEqual(heard[name], Array.from({ length: sent + unanswered }, (_, n) => n), name);
        }
        assert.ok(returns.length >= 2 && returns.every(Boolean), `${returns}`);
      }
      assert.equal(await metric(server, "corewire_recovery_unknown_total"), 0);
      client.closeAll();
      await front?.stop();
      await server.stop();
    });
  }
});
