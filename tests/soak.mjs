// A soak: rounds of mixed traffic with churn against one gateway, until the time is over, and then
// its last rounds beside its first: memory, descriptors, latency. Growth is a failure. Beside the
// load test over WebSocket, whose latency counts, it polls and upgrades, and a few official clients
// come by TLS, have their messages compressed, break off and are recovered.
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
const { Members } = await import("./clients/members.mjs");
const { Pki } = await import("./clients/pki.mjs");

const minutes = Number(process.argv[2]);
assert.ok(minutes > 0, "say how many minutes");
const folder = process.argv[3] ?? mkdtempSync(join(tmpdir(), "corewire-soak-"));
mkdirSync(folder, { recursive: true });

/** The first round warms up and is not compared; the shortest soak still has two thirds. */
const ROUNDS = Math.max(7, Math.round(minutes / 4));
const seconds = (minutes * 60) / ROUNDS;
const release = process.env.PROFILE === "release";
const times = {
  app: '"gateway"', seconds: Math.max(3, seconds - 2).toFixed(1), warmup_seconds: "1.0",
  busy_poll: "false",
};
/** Round trips over another transport, without rooms: those of two load tests have one name. */
const echo = (transport) => ["echo", transport, {
  ...times, connections: release ? 100 : 20, rate: release ? "200.0" : "40.0",
}];
/** What runs side by side: scenario, transport, settings. */
const SHARES = [
  ["mixed", "websocket", {
    ...times, connections: release ? 1_000 : 300, rate: release ? "2000.0" : "400.0",
    echoers: release ? 100 : 40, echo_rate: release ? "1000.0" : "200.0",
    churners: release ? 50 : 20, idlers: release ? 2_000 : 500,
  }],
  echo("polling"),
  echo("upgrade"),
];
const pki = new Pki();
process.on("exit", () => pki.remove());
const flags = ["--rooms-open=true", "--log-level", "warn", "--deflate", "--recovery",
  // As many as the first round fills: what is kept for those that come back is there from then on.
  "--recovery-window", "30000", "--recovery-entries-max", release ? "16384" : "4000", ...pki.flags()];

/** Memory that is the server's own, in KiB, and open descriptors. */
function body(server) {
  const status = readFileSync(`/proc/${server.pid}/status`, "utf8");
  const kib = Number(/RssAnon:\s+(\d+)/.exec(status)[1]);
  return { kib, descriptors: readdirSync(`/proc/${server.pid}/fd`).length };
}

/** One load test, to its end; its report. */
async function load(server, out, [scenario, transport, settings]) {
  const sets = Object.entries(settings).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  const args = ["run", join(root, `loadtest/scenarios/${scenario}.toml`), "--quiet", "--url", server.url,
    "--admin-url", server.admin, "--pid", String(server.pid), "--transport", transport, "--out", out, ...sets];
  const child = spawn(join(profile, "loadtest"), args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => { said += text; });
  const [code] = await once(child, "exit");
  assert.equal(code, 0, `${out}:\n${said}`);
  return JSON.parse(readFileSync(join(out, "report.json"), "utf8"));
}

async function round(server, number) {
  const out = join(folder, `round-${String(number).padStart(2, "0")}`);
  const members = new Members(server, pki.ca);
  await members.start();
  const reports = await Promise.all(SHARES.map((share) => load(server, join(out, share[1]), share)));
  await members.stop();
  // Clients are gone: what is left now is what stays.
  await eventually("everybody is gone", async () =>
    (await metric(server, "corewire_connections")) + (await metric(server, "corewire_sockets")) +
      (await metric(server, "corewire_rooms")) === 0, 20_000);
  const { delivery, round_trip: trip } = reports[0].latencies;
  const delivered = reports.reduce((sum, report) => sum + report.oracle.delivered, 0) +
    members.sent * members.members.length;
  const found = { ...body(server), delivered, p99: delivery.p99, trip: trip.p99 };
  console.log(`round ${number}: ${delivered} delivered, ${members.recovered} recovered, ${found.kib} KiB, ` +
    `${found.descriptors} descriptors, p99 ${(found.p99 / 1e3).toFixed(1)} ms ` +
    `(round trips ${(found.trip / 1e3).toFixed(1)} ms)`);
  return found;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

const server = await startServer("corewire", flags);
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
/** What must have had its share. */
for (const name of ["tls_handshakes", "deflated", "inflated", "recoveries", "upgrades_completed"]) {
  const count = await metric(server, `corewire_${name}_total`);
  console.log(`${name.replaceAll("_", " ")}: ${count}`);
  assert.ok(count > 0, name);
}
const code = await terminate(server);
assert.equal(code, 0, "it ends well");
assert.deepEqual(grown, [], "these grew");
console.log(`${ROUNDS} rounds, ${rounds.reduce((sum, one) => sum + one.delivered, 0)} messages delivered, ` +
  "none lost, doubled or out of order");
