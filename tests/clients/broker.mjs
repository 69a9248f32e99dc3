// A RabbitMQ broker of our own, as Debian packages it: unprivileged, on loopback, in a folder that
// is gone afterwards, with a port mapper of its own. It can be killed and started again.

import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "amqplib";
import { freePort, within } from "./lib.mjs";

/** Where the distribution puts the programs; its wrappers demand a user of their own. */
function programs() {
  const base = "/usr/lib/rabbitmq/lib";
  const found = existsSync(base) ? readdirSync(base).filter((name) => /^rabbitmq_server/.test(name)) : [];
  if (!found.length) throw new Error("no rabbitmq-server; tests/run setup installs it");
  return join(base, found[0], "sbin");
}

let brokers = 0;

export class Broker {
  /** Starts one and waits until it serves; with `tls: {ca, cert, key}` on a port for it too. */
  static async start({ tls } = {}) {
    const broker = new Broker();
    broker.sbin = programs();
    broker.dir = mkdtempSync(join(tmpdir(), "corewire-broker-"));
    broker.port = await freePort();
    broker.epmd = String(await freePort());
    const dist = String(await freePort());
    const at = (name) => join(broker.dir, name);
    let config = `listeners.tcp.local = 127.0.0.1:${broker.port}\n`;
    if (tls) {
      const port = await freePort();
      broker.tlsUrl = `amqps://guest:guest@127.0.0.1:${port}`;
      config += `listeners.ssl.local = 127.0.0.1:${port}
ssl_options.cacertfile = ${tls.ca}
ssl_options.certfile = ${tls.cert}
ssl_options.keyfile = ${tls.key}
`;
    }
    writeFileSync(at("rabbitmq.conf"), config);
    writeFileSync(at("plugins"), "[].\n");
    broker.env = {
      PATH: process.env.PATH,
      HOME: broker.dir,
      // Two brokers of one process must not share a name.
      RABBITMQ_NODENAME: `corewire-${process.pid}-${(brokers += 1)}@localhost`,
      RABBITMQ_BASE: broker.dir,
      RABBITMQ_MNESIA_BASE: at("data"),
      RABBITMQ_LOG_BASE: at("log"),
      RABBITMQ_CONFIG_FILE: at("rabbitmq.conf"),
      RABBITMQ_ADVANCED_CONFIG_FILE: at("advanced.config"),
      RABBITMQ_ENABLED_PLUGINS_FILE: at("plugins"),
      RABBITMQ_CONF_ENV_FILE: "/dev/null",
      RABBITMQ_PID_FILE: at("pid"),
      RABBITMQ_DIST_PORT: dist,
      // A machine that tests share: no scheduler spins while it has nothing to do.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
        "+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
      ERL_EPMD_PORT: broker.epmd,
      ERL_EPMD_ADDRESS: "127.0.0.1",
    };
    broker.url = `amqp://guest:guest@127.0.0.1:${broker.port}`;
    await broker.up();
    return broker;
  }

  /** Starts the process, on the data that is there. */
  async up() {
    rmSync(join(this.dir, "pid"), { force: true });
    const child = spawn(join(this.sbin, "rabbitmq-server"), [], {
      env: this.env,
      cwd: this.dir,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const log = [];
    const ready = new Promise((done, reject) => {
      createInterface({ input: child.stdout }).on("line", (line) => {
        log.push(line);
        if (/completed with/.test(line)) done();
      });
      createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
      child.once("exit", (code) => reject(new Error(`the broker ended: ${code}`)));
    });
    this.gone = new Promise((done) => child.once("exit", done));
    try {
      await within(ready, "the broker to start", 60_000);
    } catch (error) {
      throw new Error(`${error.message}\n${log.slice(-30).join("\n")}`);
    }
    ready.catch(() => {});
    this.pid = Number(readFileSync(join(this.dir, "pid"), "utf8"));
  }

  /** Ends it at once, as a machine that fails does. */
  async kill() {
    if (!this.pid) return;
    process.kill(this.pid, "SIGKILL");
    this.pid = undefined;
    await within(this.gone, "the broker to end");
  }

  /** Stops its process where it stands, or lets it go on: it is there and says nothing. */
  freeze(frozen) {
    process.kill(this.pid, frozen ? "SIGSTOP" : "SIGCONT");
  }

  /** Runs `rabbitmqctl`. */
  ctl(...args) {
    const run = new Promise((done, reject) => {
      execFile(join(this.sbin, "rabbitmqctl"), args, { env: this.env }, (error, out, err) => {
        if (error) reject(new Error(`rabbitmqctl ${args.join(" ")}: ${out}${err}`));
        else done(out);
      });
    });
    return within(run, `rabbitmqctl ${args[0]}`, 30_000);
  }

  /** A back end's connection with one channel that confirms. */
  async client() {
    const connection = await connect(this.url);
    connection.on("error", () => {});
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => {});
    return { connection, channel, close: () => connection.close().catch(() => {}) };
  }

  /** Ends it and what it has left. */
  async stop() {
    await this.kill();
    await new Promise((done) => {
      execFile("epmd", ["-port", this.epmd, "-kill"], { env: this.env }, () => done());
    });
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}
