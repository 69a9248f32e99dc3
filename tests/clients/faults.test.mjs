// Faults for real: processes killed and stopped, a bad network, a machine that has run out of
// something, a clock that jumps, a crowd that comes back at once. Each test says what was promised
// and counts it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  ask, Client, closeEverything, CONFORMANCE_FLAGS, eventually, metric, next, rest, startServer, succeeded,
  TRANSPORTS, within, WORKERS,
} from "./lib.mjs";
import { network } from "./network.mjs";
import { raw } from "./raw.mjs";
import { Traffic } from "./traffic.mjs";

const limit = { timeout: 90_000 };
const folder = mkdtempSync(join(tmpdir(), "corewire-faults-"));
after(() => {
  closeEverything();
  rmSync(folder, { recursive: true, force: true });
});

/** How often connections, sessions or sockets ended in this way. */
async function endings(server, name) {
  const { text } = await rest(server.admin, "GET", "/metrics");
  const lines = text.split("\n").filter((line) =>
    line.startsWith("corewire_endings_total{") && line.includes(`ending="${name}"`));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
}

/** Nothing is left of any client. */
const atRest = (server, ms) => eventually("nothing is left", async () => {
  for (const name of ["sessions", "sockets", "rooms", "outbox_bytes", "acks_pending"]) {
    if ((await metric(server, `corewire_${name}`)) > 0) return false;
  }
  return true;
}, ms);

describe("processes", { concurrency: false }, () => {
  test("killed mid-traffic, another on its port: everybody is back, every event is answered", limit, async () => {
    const first = await startServer("conformance", CONFORMANCE_FLAGS);
    const listen = first.url.slice("http://".length);
    const traffic = new Traffic(first.url);
    await traffic.start();
    await traffic.more(300);
    await first.stop();
    const began = performance.now();
    const second = await startServer("conformance", CONFORMANCE_FLAGS, {}, { listen });
    await eventually("all are back", async () =>
      traffic.sockets.every((socket) => socket.connected && socket.io.engine.readyState === "open"));
    console.log(`# 10 clients were back ${Math.round(performance.now() - began)} ms after the kill`);
    await traffic.more(300);
    await traffic.stop();
    assert.ok(traffic.returns >= traffic.sockets.length, `${traffic.returns} came back`);
    await atRest(second);
    await second.stop();
  });

  test("stopped and continued within the timeout: nothing is lost, nobody is gone", limit, async () => {
    const server = await startServer("conformance", CONFORMANCE_FLAGS);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const [writer, ...readers] = await Promise.all(Array.from({ length: 6 }, () => client.connect()));
    const heard = readers.map(() => []);
    for (const [at, reader] of readers.entries()) {
      await ask(reader, "join", "room");
      reader.on("n", (n) => heard[at].push(n));
    }
    const answers = [];
    const say = (from, to) => {
      for (let n = from; n < to; n += 1) answers.push(ask(writer, "room-emit", "room", "n", n));
    };
    say(0, 200);
    process.kill(server.pid, "SIGSTOP");
    say(200, 400);
    // Connections made now wait in the kernel.
    const late = client.connect();
    process.kill(server.pid, "SIGCONT");
    say(400, 600);
    await Promise.all(answers);
    assert.ok((await late).connected);
    const all = Array.from({ length: 600 }, (_, n) => n);
    await eventually("all is heard", async () => heard.every(({ length }) => length >= 600));
    for (const one of heard) assert.deepEqual(one, all);
    client.closeAll();
    await atRest(server);
    await server.stop();
  });

  test("stopped beyond the timeout: clients notice, come back and go on", limit, async () => {
    const flags = CONFORMANCE_FLAGS.map((flag) => (flag === "5000" ? "1000" : flag));
    const server = await startServer("conformance", flags);
    const traffic = new Traffic(server.url);
    await traffic.start();
    await traffic.more(100);
    const gone = traffic.sockets.map((socket) => next(socket, "disconnect"));
    process.kill(server.pid, "SIGSTOP");
    for (const [reason] of await Promise.all(gone)) assert.equal(reason, "ping timeout");
    process.kill(server.pid, "SIGCONT");
    await traffic.more(300);
    await traffic.stop();
    await atRest(server);
    await server.stop();
  });
});

describe("a bad network", { concurrency: false }, () => {
  for (const [name, options] of Object.entries(TRANSPORTS)) {
    test(`slow and in pieces, ${name}: all of it, in order`, limit, async () => {
      const server = await startServer("conformance", CONFORMANCE_FLAGS);
      const bad = await network(server);
      Object.assign(bad.faults, { delayMs: 8, pieceBytes: 11 });
      const client = new Client("sio4", bad.url, options);
      const socket = await client.connect();
      const back = [];
      socket.on("message-back", (n, bytes) => back.push([n, bytes.length]));
      for (let n = 0; n < 60; n += 1) socket.emit("message", n, Buffer.alloc(n * 7, n));
      await eventually("all came back", async () => back.length >= 60, 30_000);
      assert.deepEqual(back, Array.from({ length: 60 }, (_, n) => [n, n * 7]));
      client.closeAll();
      await atRest(server);
      bad.close();
      await server.stop();
    });
  }

  test("held for a while, as lost packets are: all of it, in order, nobody is gone", limit, async () => {
    const server = await startServer("conformance", CONFORMANCE_FLAGS);
    const bad = await network(server);
    const client = new Client("sio4", bad.url, { transports: ["websocket"] });
    const socket = await client.connect();
    const sent = await metric(server, "corewire_packets_out_total");
    bad.hold();
    const answers = Array.from({ length: 200 }, (_, n) => ask(socket, "message-with-ack", n));
    await eventually("a ping is under way", async () =>
      (await metric(server, "corewire_packets_out_total")) > sent);
    bad.release();
    const got = (await Promise.all(answers)).map(([n]) => n);
    assert.deepEqual(got, Array.from({ length: 200 }, (_, n) => n));
    assert.ok(socket.connected);
    client.closeAll();
    bad.close();
    await server.stop();
  });

  test("reset in the middle of anything: everybody comes back, every event is answered", limit, async () => {
    const server = await startServer("conformance", CONFORMANCE_FLAGS);
    const bad = await network(server);
    const traffic = new Traffic(bad.url);
    await traffic.start();
    // Where the reset falls is any byte of handshakes, frames and answers.
    for (const bytes of [1, 130, 131, 250, 260, 300, 500, 777, 1_500, 4_001]) {
      bad.faults.resetAfterBytes = bytes;
      bad.reset();
      const opened = await metric(server, "corewire_connections_opened_total");
      await eventually(`resets after ${bytes} bytes`, async () =>
        (await metric(server, "corewire_connections_opened_total")) >= opened + 20);
      bad.faults.resetAfterBytes = undefined;
      await traffic.more(20);
    }
    await traffic.stop();
    assert.ok(traffic.returns >= 100, `${traffic.returns} came back`);
    await atRest(server);
    assert.equal(await metric(server, "corewire_handler_panics_total"), 0);
    bad.close();
    await server.stop();
  });

  test("half-open connections: both sides find out by their pings, and nothing stays", limit, async () => {
    const flags = CONFORMANCE_FLAGS.map((flag) => (flag === "5000" ? "600" : flag));
    // A request that the silence swallowed is waited for as well, and so is the next one.
    const server = await startServer("conformance",
      [...flags, "--keep-alive-timeout", "1000", "--request-timeout", "1000"]);
    const bad = await network(server);
    const client = new Client("sio4", bad.url, { transports: ["websocket"] });
    const sockets = await Promise.all(Array.from({ length: 20 }, () => client.connect()));
    const polling = await client.connect("/", { transports: ["polling"] });
    await ask(polling, "join", "room");
    const gone = sockets.map((socket) => next(socket, "disconnect"));
    const before = await endings(server, "ping_timeout");
    bad.silence();
    for (const [reason] of await Promise.all(gone)) assert.equal(reason, "ping timeout");
    await atRest(server);
    const found = (await endings(server, "ping_timeout")) - before;
    assert.ok(found >= 21, `${found} were found by their silence`);
    await eventually("their descriptors are free", async () =>
      (await metric(server, "corewire_connections")) === 0);
    client.closeAll();
    bad.close();
    await server.stop();
  });
});

const shell = (script) => ["/bin/sh", "-c", `${script} && exec "$0" "$@"`];

describe("a machine that has run out", { concurrency: false }, () => {
  test("fewer descriptors than conns_max: the rest is refused, health still answers", limit, async () => {
    const most = 64 * Number(WORKERS);
    const own = 128 + Number(WORKERS) * 17;
    const server = await startServer("conformance", ["--cors-origin", "*"], {}, {
      under: shell(`ulimit -n ${own + most}`),
    });
    await eventually("the start says so", async () =>
      server.log.some((line) => line.includes("descriptors suffice for 64 of conns_max")));
    const crowd = Array.from({ length: most + 100 }, () => raw(server.url));
    const outcome = await Promise.allSettled(crowd.map(({ joined }) => joined));
    const inside = outcome.filter(({ status }) => status === "fulfilled").length;
    assert.ok(inside > most / 2 && inside <= most, `${inside} of ${most} are in`);
    assert.ok((await metric(server, "corewire_connections_refused_total")) >= 100);
    assert.equal((await rest(server.admin, "GET", "/healthz")).status, 200);
    crowd.forEach(({ socket }) => socket.destroy());
    await eventually("they are gone", async () => (await metric(server, "corewire_connections")) === 0);
    const again = raw(server.url);
    await within(again.joined, "a place is free again");
    again.socket.destroy();
    await server.stop();
  });

  test("no descriptor at all: it does not spin, serves whom it has, and takes in who waited", limit, async () => {
    const server = await startServer("conformance", CONFORMANCE_FLAGS);
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect();
    const { sockets: held } = await new Promise((done) => {
      // Connections of REST that stay open: once descriptors are gone, no new one can be made.
      const agent = connect({ host: "127.0.0.1", port: new URL(server.admin).port });
      agent.once("connect", () => done({ sockets: agent }));
    });
    const scrape = () => new Promise((done) => {
      let text = "";
      const take = (chunk) => {
        text += chunk;
        const [head, body] = text.split("\r\n\r\n");
        const length = /content-length: (\d+)/i.exec(head)?.[1];
        if (!length || Buffer.byteLength(body ?? "") < Number(length)) return;
        held.off("data", take);
        done(body);
      };
      held.on("data", take);
      held.write("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    });
    const sum = async (name) => (await scrape()).split("\n")
      .filter((line) => line.startsWith(`${name}{`))
      .reduce((total, line) => total + Number(line.split(" ").pop()), 0);
    await scrape();
    execFileSync("prlimit", ["--pid", server.pid, "--nofile=10:"]);
    const refused = await sum("corewire_connections_refused_total");
    const waiting = raw(server.url);
    await eventually("it is counted", async () =>
      (await sum("corewire_connections_refused_total")) >= refused + 3);
    const busy = await sum("corewire_core_busy_seconds_total");
    const began = performance.now();
    await eventually("it tries again now and then", async () =>
      (await sum("corewire_connections_refused_total")) >= refused + 13);
    const seconds = (performance.now() - began) / 1_000;
    const share = ((await sum("corewire_core_busy_seconds_total")) - busy) / seconds;
    assert.ok(share < 0.5, `workers are busy for ${share} of ${seconds} s`);
    assert.deepEqual(await ask(socket, "message-with-ack", 7), [7], "it serves whom it has");
    execFileSync("prlimit", ["--pid", server.pid, "--nofile=1000:"]);
    await within(waiting.joined, "who waited is taken in");
    waiting.socket.destroy();
    held.destroy();
    client.closeAll();
    await server.stop();
  });

  test("the log's disk is full: clients do not notice", limit, async () => {
    const full = openSync("/dev/full", "w");
    const server = await startServer("conformance", [...CONFORMANCE_FLAGS, "--log-level", "debug"], {}, {
      stderr: full,
    });
    closeSync(full);
    const traffic = new Traffic(server.url);
    await traffic.start();
    await traffic.more(300);
    await traffic.stop();
    await atRest(server);
    await server.stop();
  });

  test("the spool's disk is full: what it cannot hold is refused, what it holds is kept", limit, async () => {
    const disk = join(folder, "disk");
    mkdirSync(disk);
    const file = join(folder, "spool.toml");
    writeFileSync(file, '[[routes]]\nevent = "ai_request"\nto = "rabbitmq"\nrouting_key = "x"\n');
    const mount = `mount -t tmpfs -o size=256k tmpfs ${disk}`;
    const flags = ["--config", file, "--rabbitmq-spool-file", disk, "--cors-origin", "*"];
    const server = await startServer("corewire", flags,
      { COREWIRE_RABBITMQ_URL: "amqp://127.0.0.1:1/" },
      { under: ["unshare", "-rm", ...shell(mount)] });
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect("/", { auth: { userId: "u", sessionId: "s" } });
    const answers = [];
    for (let n = 0; n < 300; n += 1) {
      const request = { toolId: "t", requestId: `r${n}`, sessionId: "s", message: "x".repeat(2_300) };
      answers.push((await ask(socket, "ai_request", request))[0]);
    }
    const queued = answers.filter(({ status }) => status === "queued").length;
    const refused = answers.filter(({ success }) => !success);
    const unwritten = await metric(server, "corewire_amqp_spool_unwritten_total");
    assert.equal(queued + refused.length, 300);
    assert.ok(queued > 50 && queued < 150, `${queued} fit the disk`);
    assert.equal(unwritten, refused.length);
    for (const { error } of refused) assert.equal(error.code, "BROKER_UNAVAILABLE");
    await eventually("the spool says what it holds", async () =>
      (await metric(server, "corewire_amqp_spool_messages")) === queued);
    assert.equal(await metric(server, "corewire_amqp_spool_refused_total"), refused.length);
    assert.equal((await rest(server.url, "GET", "/healthz")).status, 200);
    console.log(`# ${queued} events fit a disk of 256 KiB, ${refused.length} were refused`);
    client.closeAll();
    await server.stop();
  });

  describe("no memory for a ring", () => {
    const library = join(folder, "ring_fault.so");
    before(() => {
      const source = fileURLToPath(new URL("ring_fault.c", import.meta.url));
      execFileSync("cc", ["-shared", "-fPIC", "-o", library, source, "-ldl"]);
    });
    const fault = (what) => ({ LD_PRELOAD: library, RING_FAULT: what });

    test("at the start: epoll, and the start line says why; or one line, where a ring was demanded", limit, async () => {
      const server = await startServer("conformance", CONFORMANCE_FLAGS, fault("setup"));
      await eventually("the start line says it", async () => server.log.some((line) =>
        line.includes("worker(s) on epoll (Cannot allocate memory (os error 12))")));
      const traffic = new Traffic(server.url);
      await traffic.start();
      await traffic.more(200);
      await traffic.stop();
      await server.stop();
      const demanded = startServer("conformance", ["--driver", "uring"], fault("setup"));
      await assert.rejects(demanded,
        /exited with 1 before it served:\n(the ring had no memory\n)?[^\n]*Cannot allocate memory[^\n]*$/);
    });

    test("one time in twenty while it serves: nobody notices", limit, async () => {
      const server = await startServer("conformance", CONFORMANCE_FLAGS, fault("enter"));
      const traffic = new Traffic(server.url);
      await traffic.start();
      await traffic.more(1_000);
      await traffic.stop();
      assert.equal(traffic.returns, 0, "no connection was lost");
      assert.ok(server.log.includes("the ring had no memory"), "the fault was there");
      await atRest(server);
      await server.stop();
    });
  });
});

describe("a clock that jumps", () => {
  // Debian's package `faketime` has it; where it is elsewhere, say so.
  const library = process.env.FAKETIME_LIB ??
    `/usr/lib/${execFileSync("cc", ["-print-multiarch"]).toString().trim()}/faketime/libfaketimeMT.so.1`;

  test("a day ahead and two back: sessions, pings and answers go on, stamps follow", limit, async () => {
    const offset = join(folder, "offset");
    writeFileSync(offset, "+0d");
    const server = await startServer("corewire", CONFORMANCE_FLAGS, {
      LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: offset, FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    });
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const socket = await client.connect("/", { auth: { userId: "u", sessionId: "s" } });
    const gone = [];
    socket.on("disconnect", (reason) => gone.push(reason));
    const day = 86_400_000;
    for (const days of [0, 1, -1]) {
      writeFileSync(offset, `${days >= 0 ? "+" : ""}${days}d`);
      await next(socket.io, "ping");
      await next(socket.io, "ping");
      const line = `{"userId":"u","type":"info","title":"t","message":"m"}`;
      const heard = next(socket, "notification");
      succeeded(await rest(server.admin, "POST", "/socket/notifications", JSON.parse(line)));
      await heard;
      const { lastHeartbeat, uptime } = succeeded(await rest(server.admin, "GET", "/socket/health"));
      const off = new Date(lastHeartbeat).getTime() - Date.now() - days * day;
      assert.ok(Math.abs(off) < 60_000, `the stamp is ${off} ms off`);
      assert.ok(uptime < 60_000, "what is measured follows another clock");
    }
    assert.deepEqual(gone, []);
    client.closeAll();
    await atRest(server);
    await server.stop();
  });
});

describe("a crowd that comes back at once", () => {
  test("3,000 clients of a process that was killed: all are back in time, others are served", limit, async () => {
    const crowd = 3_000;
    const flags = ["--cors-origin", "*", "--ping-interval", "25000"];
    const first = await startServer("conformance", flags);
    const listen = first.url.slice("http://".length);
    const come = async (server) => {
      const all = Array.from({ length: crowd }, () => raw(server.url));
      const began = performance.now();
      await within(Promise.all(all.map(({ joined }) => joined)), "everybody is in", 30_000);
      return { all, ms: Math.round(performance.now() - began) };
    };
    const before = await come(first);
    await first.stop();
    const server = await startServer("conformance", flags, {}, { listen });
    const client = new Client("sio4", server.url, { transports: ["websocket"] });
    const bystander = await client.connect();
    let over = false;
    const slowest = (async () => {
      let most = 0;
      for (let n = 0; !over; n += 1) {
        const began = performance.now();
        assert.deepEqual(await ask(bystander, "message-with-ack", n), [n]);
        most = Math.max(most, performance.now() - began);
      }
      return Math.round(most);
    })();
    const back = await come(server);
    over = true;
    const most = await slowest;
    console.log(`# ${crowd} clients: in after ${before.ms} ms, back after ${back.ms} ms; ` +
      `the slowest answer beside them took ${most} ms`);
    assert.ok(back.ms < 10_000, `${back.ms} ms`);
    assert.ok(most < 2_000, `${most} ms`);
    assert.equal(await metric(server, "corewire_sessions"), crowd + 1);
    for (const { socket } of [...before.all, ...back.all]) socket.destroy();
    client.closeAll();
    await atRest(server);
    await server.stop();
  });
});
