// The README as a new user types it: its page in a browser, its commands in a shell, its programs in
// Node and Python, its files given to the server. Only ports differ, since the kernel chooses them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { Broker } from "./broker.mjs";
import { launch } from "./chromium.mjs";
import {
  ask, BINARIES, Client, eventually, freePort, next, PYTHON, startServer, TEST_MS, within,
} from "./lib.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const README = readFileSync(resolve(HERE, "../../README.md"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "corewire-readme-"));
const limit = { timeout: 3 * TEST_MS };
const children = new Set();
after(() => {
  children.forEach((child) => child.kill("SIGKILL"));
  rmSync(folder, { recursive: true, force: true });
});

/** The fenced blocks under a heading and the smaller ones below it, in their order. */
function blocks(heading) {
  const level = heading.indexOf(" ");
  const found = [];
  let [inside, open] = [false, null];
  for (const line of README.split("\n")) {
    if (open && line === "```") open = null;
    else if (open) open.text += `${line}\n`;
    else if (line.startsWith("```")) {
      open = { language: line.slice(3), text: "" };
      if (inside) found.push(open);
    } else if (line === heading) inside = true;
    else if (inside && /^#+ /.test(line) && line.indexOf(" ") <= level) inside = false;
  }
  assert.ok(found.length, `README shows nothing under "${heading}"`);
  return found;
}

function block(heading, language, at = 0) {
  const found = blocks(heading).filter((one) => one.language === language);
  assert.ok(found.length > at, `${heading}: no ${language} block ${at}`);
  return found[at].text;
}

/** Runs a program to its end. */
async function run(program, args, options = {}) {
  const child = spawn(program, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  const code = await within(
    new Promise((done) => child.once("close", done)),
    `${program} ${args.join(" ")}`,
    TEST_MS,
  );
  children.delete(child);
  assert.equal(code, 0, `${program} ${args.join(" ")}: ${out}${err}`);
  return out;
}

/** A block of a shell, at the ports of a server; each answer of curl on a line of its own. */
function shell(text, { url, admin }) {
  const here = text
    .replaceAll("http://127.0.0.1:3001", url)
    .replaceAll("http://127.0.0.1:3002", admin)
    .replace(/^curl /gm, "curl -sS -w '\\n' ");
  return run("bash", ["-euc", here]);
}

/** The names of all members, however deep; lists by their first. */
function shape(value) {
  if (Array.isArray(value)) return value.length ? [shape(value[0])] : [];
  if (value === null || typeof value !== "object") return typeof value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, shape(value[key])]));
}

/** Writes a program beside the packages of the tests and starts it. */
function program(name, text) {
  const place = join(folder, "node");
  mkdirSync(place, { recursive: true });
  try {
    symlinkSync(join(HERE, "node_modules"), join(place, "node_modules"));
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  writeFileSync(join(place, name), text);
  const child = spawn("node", [join(place, name)], { stdio: ["ignore", "inherit", "inherit"] });
  children.add(child);
  return child;
}

function file(name, text) {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

describe("a page, and REST beside it", () => {
  let server;
  let browser;
  let tab;
  let site;
  before(async () => {
    site = createServer((_, response) => {
      response.writeHead(200, { "content-type": "text/html" });
      response.end(block("## A browser", "html").replaceAll("http://localhost:3001", server.url));
    });
    await within(new Promise((done) => site.listen(0, "127.0.0.1", done)), "the page's server");
    const origin = `http://127.0.0.1:${site.address().port}`;
    server = await startServer("corewire", ["--cors-origin", origin]);
    browser = await launch();
    tab = await browser.newPage();
    tab.setDefaultTimeout(TEST_MS);
    await tab.goto(origin);
    await tab.waitForFunction(() => document.getElementById("log").textContent.includes("answer"));
  }, limit);
  after(() => browser?.close());
  after(() => server?.stop());
  after(() => site.close());
  const log = () => tab.evaluate(() => document.getElementById("log").textContent);

  test("the page shows what README says", limit, async () => {
    const [connected, answer] = block("## A browser", "text").trim().split("\n");
    const lines = (await log()).trim().split("\n");
    assert.match(lines[0], /^connected as \S{20}$/);
    assert.equal(lines[0].length, connected.length);
    assert.equal(lines[1], answer);
  });

  test("every command of REST is answered as shown", limit, async () => {
    await tab.evaluate("socket.on('confirm', (question, answer) => answer(true))");
    let answers = [];
    for (const { language, text } of blocks("## REST")) {
      if (language === "sh" && !text.includes("COREWIRE_API_KEY") && !text.includes("a-long-secret")) {
        const lines = (await shell(text, server)).trim().split("\n");
        const parsed = lines.map((line) => JSON.parse(line));
        assert.ok(parsed.every((one) => typeof one.success === "boolean"), lines.join("\n"));
        answers = answers.concat(parsed);
      }
      if (language !== "json") continue;
      for (const shown of text.trim().split("\n").map((line) => JSON.parse(line))) {
        const same = (one) =>
          one.message === shown.message && isDeepStrictEqual(shape(one), shape(shown));
        const at = answers.findIndex(same);
        assert.notEqual(at, -1, `no answer like ${JSON.stringify(shown)} in ${JSON.stringify(answers)}`);
        answers.splice(at, 1);
      }
    }
    const seen = await log();
    assert.match(seen, /^notification .*Your report is ready/m);
    assert.match(seen, /^ai_response .*"response":"Hi\."/m);
  });

  test("latencies come as JSON, as a table, as metrics", limit, async () => {
    const commands = blocks("## Latency percentiles").filter(({ language }) => language === "sh");
    const [json, table, metrics] = await Promise.all(commands.map(({ text }) => shell(text, server)));
    const shown = JSON.parse(block("## Latency percentiles", "json"));
    assert.deepEqual(shape(JSON.parse(json)), shape(shown));
    const head = (text) => text.trim().split("\n")[0].trim().split(/\s+/);
    assert.deepEqual(head(table), head(block("## Latency percentiles", "text")));
    const names = (text) => text.trim().split("\n").map((line) => line.replace(/ \S+$/, ""));
    const of = (text) => names(text).slice(1).map((name) => name.replace(/le="\d+"/, ""));
    assert.deepEqual(of(metrics), of(block("## Latency percentiles", "text", 1)));
  });
});

test("every file is one the server takes", limit, async () => {
  const files = ["### Keys", "## Webhooks", "## RabbitMQ", "## Configuration"].flatMap(blocks);
  const texts = files.filter(({ language }) => language === "toml");
  assert.equal(texts.length, 4);
  for (const [at, { text }] of texts.entries()) {
    await run(BINARIES.corewire, ["check-config", "--config", file(`${at}.toml`, text)]);
  }
  const defaults = await run(BINARIES.corewire, ["default-config"]);
  await run(BINARIES.corewire, ["check-config", "--config", file("default.toml", defaults)]);
  assert.match(await run(BINARIES.corewire, ["--help"]), /--ping-interval/);
});

test("a key opens both listeners, in either header", limit, async () => {
  const commands = blocks("### Keys").filter(({ language }) => language === "sh");
  const key = /COREWIRE_API_KEY=(\S+)/.exec(commands[0].text)[1];
  const server = await startServer("corewire", [], { COREWIRE_API_KEY: key });
  const answers = (await shell(commands[1].text, server)).trim().split("\n");
  assert.deepEqual(answers.map((line) => JSON.parse(line).success), [true, true]);
  await server.stop();
});

test("a token is made, checked and taken", limit, async () => {
  const [exports, , make, check] = block("### Next.js", "sh", 0).trim().split("\n");
  const env = Object.fromEntries(
    exports.replace("export ", "").split(" ").map((one) => one.split("=")),
  );
  const script = `${exports}\ncorewire() { "${BINARIES.corewire}" "$@"; }\n${make}\n${check}\necho "$token"`;
  const token = (await run("bash", ["-euc", script])).trim().split("\n").at(-1);
  const server = await startServer("corewire", ["--cors-origin", "*"], env);
  const client = new Client("sio4", server.url);
  const socket = await client.connect("/", { auth: { token }, transports: ["websocket"] });
  assert.ok(socket.connected);
  client.closeAll();
  await server.stop();
});

test("the back end of the webhooks lets clients in and answers", limit, async () => {
  const port = await freePort();
  const receiver = program(
    "hook.mjs",
    block("## Webhooks", "js").replace("listen(4000,", `listen(${port},`),
  );
  const lines = block("## Webhooks", "toml").replace("127.0.0.1:4000", `127.0.0.1:${port}`);
  await eventually("the receiver listens", () => fetch(`http://127.0.0.1:${port}`));
  const server = await startServer(
    "corewire", ["--config", file("hooks.toml", lines), "--cors-origin", "*"],
  );
  const client = new Client("sio4", server.url);
  const socket = await client.connect("/", { auth: { userId: "user123" }, transports: ["websocket"] });
  assert.deepEqual(await ask(socket, "price", 5), [{ price: 7, item: 5 }]);
  client.closeAll();
  await server.stop();
  receiver.kill();

  // The same signature in Python, of the standard's own example secret.
  const check = `
import base64, hashlib, hmac, time
${block("## Webhooks", "python").replace(/^import.*$/m, "")}
secret, body, stamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"{}", str(int(time.time()))
mac = hmac.new(base64.b64decode(secret[6:]), f"m.{stamp}.".encode() + body, hashlib.sha256).digest()
headers = {"webhook-id": "m", "webhook-timestamp": stamp}
good = {**headers, "webhook-signature": "v1,AAAA v1," + base64.b64encode(mac).decode()}
bad = {**headers, "webhook-signature": "v1," + base64.b64encode(mac[::-1]).decode()}
assert verify(secret, good, body) and not verify(secret, bad, body)
`;
  await run(PYTHON, ["-c", check]);
});

test("workers in Node and Python stand behind RabbitMQ", limit, async () => {
  const broker = await Broker.start();
  const at = (text) => text.replaceAll("127.0.0.1:5672", `127.0.0.1:${broker.port}`);
  try {
    const lines = at(block("## RabbitMQ", "toml"));
    const server = await startServer(
      "corewire", ["--config", file("rabbitmq.toml", lines), "--cors-origin", "*"],
    );
    await eventually("the bridge is up", async () => (await fetch(`${server.url}/readyz`)).ok, TEST_MS);
    const client = new Client("sio4", server.url);
    const auth = { userId: "user123", sessionId: "session456" };
    const socket = await client.connect("/", { auth, transports: ["websocket"] });
    const request = {
      toolId: "tool1", message: "Hello!", requestId: "req123", sessionId: "session456",
    };
    const worker = program("worker.mjs", at(block("## RabbitMQ", "js")));
    const heard = next(socket, "ai_response", TEST_MS);
    await eventually("the worker's queue takes it", async () => {
      const [answer] = await ask(socket, "ai_request", request);
      return answer.success && answer.status === "accepted";
    }, TEST_MS);
    const [response] = await heard;
    assert.equal(response.response, "Hi.");
    const news = next(socket, "news", TEST_MS);
    await run(PYTHON, ["-c", at(block("## RabbitMQ", "python"))]);
    assert.deepEqual(await news, ["hello"]);
    client.closeAll();
    worker.kill();
    await server.stop();
  } finally {
    await broker.stop();
  }
});
