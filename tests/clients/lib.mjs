// What every client test needs: a server of this repository as a child process, the three
// generations of the official client behind one face, and waiting that cannot last for ever.
// Start reading at `startServer`, then `Client`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import * as sio4 from "sio4";
import sio3 from "sio3";
import sio2 from "sio2";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const TARGET = process.env.CARGO_TARGET_DIR
  ? resolve(ROOT, process.env.CARGO_TARGET_DIR)
  : join(ROOT, "target");

/** Where the programs lie; the environment may point elsewhere. */
export const BINARIES = {
  corewire: process.env.COREWIRE_BIN ?? join(TARGET, "debug/corewire"),
  conformance: process.env.CONFORMANCE_BIN ?? join(TARGET, "debug/examples/conformance"),
  rust: process.env.RUST_CLIENT_BIN ?? join(TARGET, "debug/corewire-rust-client"),
};

/** The environment of the Python tests lies beside what is built. */
export const PYTHON = join(dirname(BINARIES.corewire), "../client-venv/bin/python");

export const WORKERS = process.env.WORKERS ?? "1";

/** Longest a single awaited thing may take; a whole test has `TEST_MS`. */
export const WAIT_MS = 8_000;
export const TEST_MS = 30_000;

/** The settings of the contract, but with a patient timeout: two busy cores are no dead peer. */
export const CONFORMANCE_FLAGS = [
  "--ping-interval", "300", "--ping-timeout", "5000", "--max-payload", "1000000",
  "--connect-timeout", "1000", "--cors-origin", "*",
];

/** A port that was free a moment ago, for whoever cannot be told to choose one; nobody listens. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Rejects with `what` when `promise` is not settled in time. */
export function within(promise, what, ms = WAIT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out after ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next `event` of `emitter`. */
export function next(emitter, event, ms = WAIT_MS) {
  return within(
    new Promise((done) => emitter.once(event, (...args) => done(args))),
    `event "${event}"`,
    ms,
  );
}

/** The arguments of the next `count` events of that name, in the order they came. */
export function collect(emitter, event, count, ms = WAIT_MS) {
  const got = [];
  return within(
    new Promise((done) => {
      const take = (...args) => {
        got.push(args);
        if (got.length < count) return;
        emitter.off(event, take);
        done(got);
      };
      emitter.on(event, take);
    }),
    `${count} of event "${event}"`,
    ms,
  ).catch((error) => {
    throw new Error(`${error.message} (${got.length} came)`);
  });
}

/** Emits and gives the arguments of the acknowledgement. */
export function ask(socket, event, ...args) {
  return within(
    new Promise((done) => socket.emit(event, ...args, (...answer) => done(answer))),
    `the acknowledgement of "${event}"`,
  );
}

/** Asks again until `check` is content: for facts that settle on another core. */
export async function eventually(what, check, ms = WAIT_MS) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    last = await check().then((value) => ({ value }), (error) => ({ error }));
    if (last.value) return last.value;
    if (Date.now() > end) break;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`never came true: ${what}${last.error ? `: ${last.error.message}` : ""}`);
}

/** That nothing named `event` arrives before an answer to a later question has. */
export async function silent(emitter, event, during) {
  const seen = [];
  const note = (...args) => seen.push(args);
  emitter.on(event, note);
  await during();
  emitter.off(event, note);
  if (seen.length) throw new Error(`unexpected "${event}": ${JSON.stringify(seen)}`);
}

const running = new Set();
/** How to close whatever was opened; a test that fails leaves it open. */
const opened = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Has `close` called by `closeEverything`; the answer takes it back. */
export function opening(close) {
  opened.add(close);
  return () => opened.delete(close);
}

/** Ends what failed tests have left, so that nothing keeps the program from ending by itself. */
export function closeEverything() {
  opened.forEach((close) => close());
  opened.clear();
  running.forEach((child) => child.kill("SIGKILL"));
}

/**
 * Starts `corewire` or `conformance` on ports the kernel chooses and waits until it serves.
 * `env` is laid over an environment without any setting of ours. `listen` is another address,
 * `under` a command that starts it as its last words say, `stderr` a descriptor for the log.
 */
export async function startServer(kind, flags = [], env = {}, how = {}) {
  const { listen = "127.0.0.1:0", under = [], stderr = "pipe", workers = WORKERS } = how;
  const clean = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(COREWIRE|SOCKET)_/.test(name)),
  );
  const args = ["--listen", listen, "--admin-listen", "127.0.0.1:0", "--workers", workers];
  const [program, ...words] = [...under, BINARIES[kind], ...args, ...flags];
  const child = spawn(program, words, {
    env: { ...clean, ...env },
    stdio: ["ignore", "pipe", stderr],
  });
  running.add(child);
  const log = [];
  const exited = new Promise((done) => {
    child.once("error", (error) => done(`could not start: ${error.message}`));
    child.once("exit", (code, signal) => done(`exited with ${signal ?? code}`));
  });
  exited.then(() => running.delete(child));
  const server = { kind, pid: child.pid, log, exited, child };
  const address = (name) => new RegExp(`^${name} on (\\S+)$`);
  const lines = createInterface({ input: child.stdout });
  if (child.stderr) createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
  const ready = new Promise((done) => {
    lines.on("line", (line) => {
      log.push(line);
      const open = address("listening").exec(line);
      if (open) server.url = `http://${open[1]}`;
      const admin = address("admin").exec(line);
      if (admin) server.admin = `http://${admin[1]}`;
      const tls = address("listening with TLS").exec(line);
      if (tls) server.tls = `https://${tls[1]}`;
      if (server.url && server.admin) done();
    });
  });
  const died = exited.then((how) => {
    throw new Error(`${kind} ${how} before it served:\n${log.join("\n")}`);
  });
  await within(Promise.race([ready, died]), `${kind} to serve`, 20_000);
  died.catch(() => {});
  server.ws = server.url.replace("http", "ws");
  server.stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`${kind} was gone already (${await exited}):\n${log.slice(-40).join("\n")}`);
    }
    child.kill("SIGKILL");
    await exited;
  };
  return server;
}

/** Stops a server as an operator would and gives its exit code. */
export async function terminate(server, ms = 20_000) {
  server.child.kill("SIGTERM");
  return within(once(server.child, "exit").then(([code]) => code), `${server.kind} to stop`, ms);
}

export const TRANSPORTS = {
  "polling only": { transports: ["polling"] },
  "websocket only": { transports: ["websocket"] },
  "polling then upgrade": { transports: ["polling", "websocket"] },
};

const LIBRARIES = { sio4, sio3, sio2 };

/**
 * One generation of the official client: hides what differs between them, and closes at the end
 * of a test whatever the test opened.
 */
export class Client {
  #open = new Set();
  #closed = () => {};

  constructor(generation, url, options = {}) {
    this.old = generation === "sio2";
    this.lib = LIBRARIES[generation];
    this.url = url;
    this.options = { forceNew: true, reconnection: false, autoConnect: false, ...options };
  }

  /** A manager and a function that makes its sockets; nothing is connected yet. */
  manager(options = {}) {
    const manager = new this.lib.Manager(this.url, { ...this.options, ...options });
    if (this.#open.size === 0) this.#closed = opening(() => this.closeAll());
    this.#open.add(manager);
    return {
      manager,
      // The second generation has no auth member: it says it in the namespace's query.
      socket: (nsp, auth) => manager.socket(nsp, this.old ? { query: auth } : { auth }),
    };
  }

  /** A socket of its own connection, not connected yet. */
  socket(nsp = "/", { auth, ...options } = {}) {
    return this.manager(options).socket(nsp, auth);
  }

  /** A connected socket. */
  async connect(nsp = "/", options = {}) {
    return Client.up(this.socket(nsp, options));
  }

  /** Connects a socket made by `socket` and waits until the server has let it in. */
  static async up(socket) {
    const refused = new Promise((_, reject) => {
      for (const event of ["connect_error", "error"]) {
        socket.once(event, (error) => {
          reject(new Error(`refused: ${error?.message ?? JSON.stringify(error)}`));
        });
      }
    });
    const connected = next(socket, "connect");
    socket.connect();
    try {
      await Promise.race([connected, refused]);
    } finally {
      connected.catch(() => {});
      refused.catch(() => {});
      socket.off("connect_error");
      socket.off("error");
    }
    return socket;
  }

  /** The reason a namespace was refused: `{message, data}` of all generations. */
  async refusal(socket) {
    const refused = next(socket, this.old ? "error" : "connect_error");
    socket.connect();
    const [error] = await refused;
    if (this.old) return { message: error.message ?? error, data: error };
    return { message: error.message, data: error.data };
  }

  closeAll() {
    for (const manager of this.#open) {
      manager.reconnection(false);
      for (const socket of Object.values(manager.nsps)) socket.off();
      manager.engine?.close();
    }
    this.#open.clear();
    this.#closed();
  }
}

/** Waits until the connection below `socket` speaks WebSocket. */
export async function upgraded(socket) {
  const engine = socket.io.engine;
  if (engine.transport.name !== "websocket") await next(engine, "upgrade");
  return engine;
}

/** What `JSON.stringify` would make of it, but with binary as `{bin: hex}`. */
export function plain(value) {
  if (value instanceof ArrayBuffer) return { bin: Buffer.from(value).toString("hex") };
  if (ArrayBuffer.isView(value)) {
    const { buffer, byteOffset, byteLength } = value;
    return { bin: Buffer.from(buffer, byteOffset, byteLength).toString("hex") };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]));
  }
  return value;
}

/** A call of the REST API: status, headers and the parsed body. */
export async function rest(base, method, path, body, headers = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const response = await within(
    fetch(base + path, {
      method,
      headers: { ...json, ...headers },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
    }),
    `${method} ${path}`,
  );
  const text = await response.text();
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  return { status: response.status, headers: response.headers, text, body: parsed };
}

/** The data of a REST answer that must have succeeded, in the shape all of them have. */
export function succeeded({ status, body, headers }, expected = 200) {
  assert.equal(status, expected, JSON.stringify(body));
  assert.match(headers.get("content-type"), /^application\/json/);
  assert.equal(body.success, true);
  assert.equal(typeof body.message, "string");
  return body.data;
}

/** The error of a REST answer that must have failed so. */
export function failed({ status, body, headers, text }, expected, code) {
  assert.equal(status, expected, text);
  assert.match(headers.get("content-type"), /^application\/json/);
  assert.equal(body.success, false);
  assert.equal(typeof body.message, "string");
  assert.equal(body.error.code, code);
  return body.error;
}

/** The sum of a metric over all cores. */
export async function metric(server, name) {
  const { text } = await rest(server.admin, "GET", "/metrics");
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
  assert.ok(lines.length > 0, `${name} is measured`);
  return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
}
