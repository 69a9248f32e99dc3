// A receiver of webhooks written with plain Node, as a user would, and servers that call it.

import assert from "node:assert/strict";
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { next, rest, startServer, succeeded, TEST_MS, within } from "./lib.mjs";

export const limit = { timeout: TEST_MS };
const folder = mkdtempSync(join(tmpdir(), "corewire-hooks-"));
after(() => rmSync(folder, { recursive: true }));

const newSecret = () => `whsec_${randomBytes(32).toString("base64")}`;
const SECRETS = [newSecret(), newSecret()];

/** What a receiver does with the headers and the raw body before it believes a word. */
export function verify(secret, headers, body) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const { "webhook-id": id, "webhook-timestamp": timestamp } = headers;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) throw new Error("too old");
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest();
  const given = headers["webhook-signature"].split(" ");
  if (!given.some((one) => {
    const [version, text] = one.split(",");
    const bytes = Buffer.from(text ?? "", "base64");
    return version === "v1" && bytes.length === mac.length && timingSafeEqual(bytes, mac);
  })) throw new Error("wrong signature");
}

/** A hook: keeps what it is sent, checked, and answers what `answer` says; `null` is never. */
export class Receiver {
  calls = [];
  events = [];
  answer = () => ({});
  #server;
  #heard = [];

  async listen(port = 0) {
    this.#server = createServer((request, response) => this.#take(request, response));
    this.#server.listen(port, "127.0.0.1");
    await next(this.#server, "listening");
    this.port = this.#server.address().port;
    return this;
  }

  async close() {
    this.#server.closeAllConnections();
    const closed = new Promise((done) => this.#server.close(done));
    await within(closed, "the receiver to close");
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hook`;
  }

  /** What was taken, in order, one by one. */
  facts(of = () => true) {
    return this.events.filter(of);
  }

  /** Waits until the calls that were made satisfy `check`. */
  heard(what, check) {
    const value = check();
    if (value) return value;
    return within(new Promise((done) => {
      this.#heard.push(() => {
        const value = check();
        if (value) done(value);
        return value;
      });
    }), what);
  }

  async #take(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const raw = Buffer.concat(chunks).toString();
    for (const secret of SECRETS) verify(secret, request.headers, raw);
    assert.throws(() => verify(newSecret(), request.headers, raw), /wrong signature/);
    assert.throws(() => verify(SECRETS[0], request.headers, `${raw} `), /wrong signature/);
    assert.equal(request.headers["content-type"], "application/json");
    assert.equal(request.method, "POST");
    const body = JSON.parse(raw);
    const call = { id: request.headers["webhook-id"], headers: request.headers, body };
    this.calls.push(call);
    this.#look();
    const answer = await this.answer(call);
    if (answer !== null) {
      const { status = 200, json, text, headers = {} } = answer;
      if (status < 300 && body.type === "batch") this.events.push(...body.events);
      response.writeHead(status, headers);
      response.end(json === undefined ? text : JSON.stringify(json));
    }
    this.#look();
  }

  #look() {
    this.#heard = this.#heard.filter((look) => !look());
  }
}

let files = 0;
/** A server with these lines in its file. */
export async function serve(lines, flags = [], env = {}) {
  const file = join(folder, `corewire-${files++}.toml`);
  writeFileSync(file, lines);
  return startServer("corewire", ["--config", file, "--cors-origin", "*", ...flags], env);
}

/** One row of the file. */
export function hook(name, url, events, more = "") {
  const list = (items) => items.map((item) => JSON.stringify(item)).join(", ");
  return `
[[hooks]]
name = "${name}"
url = "${url}"
events = [${list(events)}]
secrets = [${list(SECRETS)}]
${more}
`;
}

export const route = (event, to, more = "") => `
[[routes]]
event = "${event}"
to = "hook:${to}"
${more}
`;

export const health = async (server, name) => {
  const { hooks } = succeeded(await rest(server.admin, "GET", "/socket/health"));
  return hooks.find((one) => one.name === name);
};
