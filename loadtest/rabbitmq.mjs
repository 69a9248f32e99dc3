// What commands of back ends cost the clients of a busy worker.
//
//   node loadtest/rabbitmq.mjs [--door rabbitmq|rest] [--corewire target/release/corewire]
//     [--rounds 3] [--seconds 8] [--per-second N] [--users 1000] [--connected 200]
//
// Starts a broker and a gateway of its own, on ports the kernel chooses. The gateway's one worker
// has CPU 0 for itself; its other threads, the broker, the back end and all clients share CPU 1.
// One client sends 500 pings a second and times their acknowledgements. It does so without
// commands, then with 5,000 emits a second from the command queue (10,000 by REST, in batches of
// 100), in turns. The emits go to 1,000 users in turn, of whom 200 are connected.
//
// The client and the worker have a real-time priority where that is permitted: what is measured is
// to be the worker, and not how long a CPU lets either wait for other programs. Needs what
// tests/run setup installs. Prints each turn, and the ratios of the medians.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { setPriority } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Broker } from "../tests/clients/broker.mjs";
import { BINARIES, Client, rest, startServer } from "../tests/clients/lib.mjs";

const SELF = fileURLToPath(import.meta.url);
const { values: options } = parseArgs({
  options: {
    door: { type: "string", default: "rabbitmq" },
    corewire: { type: "string", default: join(dirname(SELF), "../target/release/corewire") },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "8" },
    "per-second": { type: "string" },
    users: { type: "string", default: "1000" },
    connected: { type: "string", default: "200" },
    role: { type: "string" },
    with: { type: "string", default: "{}" },
  },
});
const PINGS_PER_S = 500;
const BATCH = 100;
const WARM_UP_MS = 1_500;
const given = JSON.parse(options.with);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const perSecond = Number(options["per-second"] ?? (options.door === "rest" ? 10_000 : 5_000));

/** Calls `act` with how many are due, so that `per_s` happen each second. */
function paced(per_s, act) {
  const begun = performance.now();
  let done = 0;
  return setInterval(() => {
    const due = Math.floor(((performance.now() - begun) * per_s) / 1000) - done;
    if (due > 0) act(due);
    done += Math.max(due, 0);
  }, 1);
}

function percentile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

// Roles of the child processes: each says "ready", and ends when it is told to.
const ROLES = {
  /** Pings and times the acknowledgements. */
  async echo() {
    const client = new Client("sio4", given.url);
    const socket = await client.connect("/", { auth: { userId: "echo" }, transports: ["websocket"] });
    let times = [];
    paced(PINGS_PER_S, (due) => {
      for (let n = 0; n < due; n += 1) {
        const sent = performance.now();
        socket.emit("ping", {}, () => times.push((performance.now() - sent) * 1000));
      }
    });
    process.on("message", (word) => {
      if (word === "tell") process.send({ p50: percentile(times, 0.5), p99: percentile(times, 0.99), count: times.length });
      times = [];
    });
  },
  /** Users that are connected and hear. */
  async crowd() {
    const client = new Client("sio4", given.url);
    let heard = 0;
    for (let n = 0; n < Number(options.connected); n += 1) {
      const auth = { userId: `user${n}` };
      const socket = await client.connect("/", { auth, transports: ["websocket"] });
      socket.on("news", () => { heard += 1; });
    }
    process.on("message", () => process.send({ heard }));
  },
  /** The back end. */
  async backend() {
    const [send, flush] = await (options.door === "rest" ? byRest() : byBroker());
    paced(perSecond, send);
    if (flush) setInterval(flush, 1_000);
    process.on("message", () => process.exit(0));
  },
};

let next = 0;
function body() {
  next = (next + 1) % Number(options.users);
  return { event: "news", args: [{ n: next, text: "x".repeat(64) }], to: { users: [`user${next}`] } };
}

async function byBroker() {
  const broker = Object.assign(new Broker(), { url: given.broker });
  const { channel } = await broker.client();
  const run = randomUUID();
  let id = 0;
  return [(due) => {
    for (let n = 0; n < due; n += 1) {
      const content = Buffer.from(JSON.stringify(body()));
      const properties = { type: "emit", messageId: `${run}-${(id += 1)}`, persistent: true };
      channel.publish("sio.commands", "emit", content, properties);
    }
  }];
}

async function byRest() {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  let owed = 0;
  return [(due) => {
    for (owed += due; owed >= BATCH; owed -= BATCH) {
      const commands = Array.from({ length: BATCH }, () => ({ verb: "emit", ...body() }));
      const text = JSON.stringify({ commands });
      const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
      const call = request(`${given.admin}/api/v1/batch`, { agent, method: "POST", headers }, (answer) => {
        if (answer.statusCode !== 200) console.error(`REST answers ${answer.statusCode}`);
        answer.resume();
      });
      call.end(text);
    }
  }];
}

if (options.role) {
  process.on("disconnect", () => process.exit(0));
  await ROLES[options.role]();
  process.send("ready");
} else {
  await main();
}

/** Starts a role on CPU 1. */
async function start(role, also, realTime = false) {
  const before = realTime ? ["chrt", "-f", "10"] : [];
  const passed = ["--door", options.door, "--per-second", String(perSecond), "--users", options.users,
    "--connected", options.connected, "--role", role, "--with", JSON.stringify(also)];
  const [program, ...args] = [...before, "taskset", "-c", "1", process.execPath, SELF, ...passed];
  const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const word = () => new Promise((done, reject) => {
    child.once("message", done);
    child.once("exit", (code) => reject(new Error(`${role} ended: ${code}`)));
  });
  await word();
  return {
    ask: (what) => {
      const answer = word();
      child.send(what);
      return answer;
    },
    tell: (what) => child.send(what),
    end: () => child.kill("SIGKILL"),
  };
}

/** The threads of a process, by name. */
function threads(pid) {
  return readdirSync(`/proc/${pid}/task`).map((tid) => {
    const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { tid, name: /\((.*)\)/.exec(stat)[1], ticks: Number(fields[11]) + Number(fields[12]) };
  });
}

async function turn(broker, realTime, loaded) {
  const flags = ["--workers", "1", "--worker-cores", "0", "--cors-origin", "*", "--log-level", "warn"];
  const env = options.door === "rest" ? {} : { COREWIRE_RABBITMQ_URL: broker.url };
  BINARIES.corewire = options.corewire;
  const server = await startServer("corewire", flags, env);
  for (const { tid, name } of threads(server.pid)) {
    const isWorker = /^worker/.test(name);
    if (!isWorker) execFileSync("taskset", ["-p", "-c", "1", tid]);
    else if (realTime) execFileSync("chrt", ["-f", "-p", "10", tid]);
  }
  const crowd = await start("crowd", { url: server.url });
  const echo = await start("echo", { url: server.url }, realTime);
  const backend = loaded ? await start("backend", { broker: broker?.url, admin: server.admin }) : null;
  await sleep(WARM_UP_MS);
  echo.tell("forget");
  const before = threads(server.pid);
  const heardBefore = (await crowd.ask("tell")).heard;
  const begun = performance.now();
  await sleep(Number(options.seconds) * 1000);
  const { p50, p99, count } = await echo.ask("tell");
  const seconds = (performance.now() - begun) / 1000;
  const { heard } = await crowd.ask("tell");
  const used = (pattern) => threads(server.pid).filter(({ name }) => pattern.test(name)).map(({ tid, ticks }) =>
    ticks - (before.find((one) => one.tid === tid)?.ticks ?? 0)).reduce((sum, n) => sum + n, 0) / seconds;
  const { body: { data } } = await rest(server.admin, "GET", "/socket/latency");
  const result = {
    p50, p99, count,
    // Users take turns, so that those who hear stand for all.
    commandsPerS: ((heard - heardBefore) / seconds) * (Number(options.users) / Number(options.connected)),
    dispatchP99: data.receive_to_dispatch.p99, handlerP99: data.handler.p99,
    workerCpu: used(/^worker/), bridgeCpu: used(/^bridge/), adminCpu: used(/^admin/),
  };
  if (loaded && options.door !== "rest") await drained(broker);
  for (const one of [echo, crowd, backend]) one?.end();
  await server.stop();
  return result;
}

/** Nothing of one turn is left for the next. */
async function drained(broker) {
  const { channel, close } = await broker.client();
  const { messageCount } = await channel.checkQueue("sio.commands.q");
  if (messageCount > perSecond) console.log(`  ${messageCount} commands are behind`);
  await channel.purgeQueue("sio.commands.q");
  await close();
}

async function main() {
  const realTime = spawnSync("chrt", ["-f", "10", "true"]).status === 0;
  if (!realTime) console.log("no real-time priority: the figures hold what other programs make client and worker wait");
  execFileSync("taskset", ["-a", "-p", "-c", "1", String(process.pid)]);
  // All that is started inherits it: other programs of the machine have what is left of CPU 1.
  if (realTime) setPriority(-15);
  const broker = options.door === "rest" ? null : await Broker.start();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  process.once("exit", () => broker?.pid && process.kill(broker.pid, "SIGKILL"));
  const turns = { without: [], with: [] };
  try {
    for (let round = 0; round < Number(options.rounds); round += 1) {
      for (const kind of ["without", "with"]) {
        const result = await turn(broker, realTime, kind === "with");
        turns[kind].push(result);
        const n = (value) => value.toFixed(0);
        if (kind === "with" && result.commandsPerS < perSecond * 0.97) {
          console.log("  fewer commands than asked for: another program has CPU 1, or it is too slow");
        }
        console.log(
          `${kind.padEnd(8)} ping p50 ${n(result.p50)} p99 ${n(result.p99)} us (${result.count}), ` +
          `dispatch p99 ${n(result.dispatchP99)} us, handler p99 ${n(result.handlerP99)} us, ` +
          `commands ${n(result.commandsPerS)}/s, CPU % worker ${n(result.workerCpu)} ` +
          `bridge ${n(result.bridgeCpu)} admin ${n(result.adminCpu)}`,
        );
      }
    }
  } finally {
    await broker?.stop();
  }
  for (const name of ["p50", "p99", "dispatchP99", "handlerP99"]) {
    const median = (kind) => percentile(turns[kind].map((one) => one[name]), 0.5);
    const [idle, busy] = [median("without"), median("with")];
    if (idle > 0) console.log(`${name}: ${idle.toFixed(0)} -> ${busy.toFixed(0)} us, ${(busy / idle).toFixed(2)} times`);
  }
  process.exit(0);
}
