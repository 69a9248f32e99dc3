// A soak: rounds of mixed traffic with churn against one gateway, until the time is over, and then
// its last rounds beside its first: memory, descriptors, latency. Growth is a failure.
//
//   node tests/soak.mjs MINUTES [DIR]      DIR: where the reports of all rounds are kept
//
// It runs `corewire` and `loadtest` as they are built (debug, or PROFILE=release).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(fileURLToPath(import.meta.url), "../..");
const target = resolve(root, process.env.CARGO_TARGET_DIR ?? "target");
const profile = join(target, process.env.PROFILE ?? "debug");
process.env.COREWIRE_BIN ??= join(profile, "corewire");
const { eventually, metric, startServer, terminate } = await import("./clients/lib.mjs");

const minutes = Number(process.argv[2]);
assert.ok(minutes > 0, "say how many minutes");
const folder = process.argv[3] ?? mkdtempSync(join(tmpdir(), "corewire-soak-"));
mkdirSync(folder, { recursive: true });

/** The first round warms up and is not compared; the shortest soak still has two thirds. */
const ROUNDS = Math.max(7, Math.round(minutes / 4));
const seconds = (minutes * 60) / ROUNDS;
const release = process.env.PROFILE === "release";
const settings = {
  app: '"gateway"', seconds: Math.max(3, seconds - 2).toFixed(1), warmup_seconds: "1.0",
  busy_poll: "false", connections: release ? 1_000 : 300, rate: release ? "2000.0" : "400.0",
  echoers: release ? 100 : 40, echo_rate: release ? "1000.0" : "200.0",
  churners: release ? 50 : 20, idlers: release ? 2_000 : 500,
};

/** Memory that is the server's own, in KiB, and open descriptors. */
function body(server) {
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  const kib = Number(/RssAnon:\s+(\d+)/.exec(status)[1]);
  return { kib, descriptors: readdirSync(`/proc/${server.pid}/fd`).length };
}

async function round(server, number) {
  const out = join(folder, `round-${String(number).padStart(2, "0")}`);
  const sets = Object.entries(settings).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  const args = ["run", join(root, "loadtest/scenarios/mixed.toml"), "--quiet", "--url", server.url,
    "--admin-url", server.admin, "--pid", String(server.pid), "--out", out, ...sets];
  const child = spawn(join(profile, "loadtest"), args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => { said += text; });
  const [code] = await once(child, "exit");
  assert.equal(code, 0, `round ${number}:\n${said}`);
  // Clients are gone: what is left now is what stays.
  await eventually("everybody is gone", async () =>
    (await metric(server, "corewire_connections")) + (await metric(server, "corewire_sockets")) +
      (await metric(server, "corewire_rooms")) === 0, 20_000);
  const report = JSON.parse(readFileSync(join(out, "report.json"), "utf8"));
  const { delivery, round_trip: trip } = report.latencies;
  const found = { ...body(server), delivered: report.oracle.delivered, p99: delivery.p99, trip: trip.p99 };
  console.log(`round ${number}: ${found.delivered} delivered, ${found.kib} KiB, ` +
    `${found.descriptors} descriptors, p99 ${(found.p99 / 1e3).toFixed(1)} ms ` +
    `(round trips ${(found.trip / 1e3).toFixed(1)} ms)`);
  return found;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

const server = await startServer("corewire", ["--rooms-open=true", "--log-level", "warn"]);
const rounds = [];
for (let number = 0; number < ROUNDS; number += 1) rounds.push(await round(server, number));
const [, ...judged] = rounds;
const third = Math.max(2, Math.floor(judged.length / 3));
const first = (name) => median(judged.slice(0, third).map((one) => one[name]));
const last = (name) => median(judged.slice(-third).map((one) => one[name]));

/** Name, what the last may be given the first, unit. */
const RULES = [
  ["kib", (was) => was * 1.1 + 4_096, "KiB"],
  ["descriptors", (was) => was, "descriptors"],
  // A quiet machine is not promised: a server that slows down does so by more than this.
  ["p99", (was) => was * 2 + 10_000, "µs p99 of deliveries"],
  ["trip", (was) => was * 2 + 10_000, "µs p99 of round trips"],
];
const grown = [];
for (const [name, allowed, unit] of RULES) {
  const [was, is] = [first(name), last(name)];
  console.log(`${unit}: ${Math.round(was)} at first, ${Math.round(is)} at last, allowed ${Math.round(allowed(was))}`);
  if (is > allowed(was)) grown.push(unit);
}
const code = await terminate(server);
assert.equal(code, 0, "it ends well");
assert.deepEqual(grown, [], "these grew");
console.log(`${ROUNDS} rounds, ${rounds.reduce((sum, one) => sum + one.delivered, 0)} messages delivered, ` +
  "none lost, doubled or out of order");
