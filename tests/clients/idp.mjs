// Tokens signed right or wrong, an identity provider of a few lines, and servers that believe them.
// Start reading at `token`, then `provider`.

import assert from "node:assert/strict";
import {
  constants, createHmac, createSign, generateKeyPairSync, sign as signBytes,
} from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { Client, startServer } from "./lib.mjs";

export const folder = mkdtempSync(join(tmpdir(), "corewire-tokens-"));
after(() => rmSync(folder, { recursive: true }));

export const SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
export const seconds = () => Math.floor(Date.now() / 1000);
const b64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value))
  .toString("base64url");

/** Signs whatever it is told to, right or wrong. */
export function token(claims, { alg = "HS256", key = SECRET, header = {}, signature } = {}) {
  const message = `${b64({ alg, ...header })}.${b64({ exp: seconds() + 600, ...claims })}`;
  const bytes = Buffer.from(message);
  const made = {
    HS256: () => createHmac("sha256", key).update(bytes).digest(),
    RS256: () => createSign("sha256").update(bytes).sign(key),
    PS256: () => signBytes("sha256", bytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
    ES256: () => createSign("sha256").update(bytes).sign({ key, dsaEncoding: "ieee-p1363" }),
    EdDSA: () => signBytes(null, bytes, key),
  };
  return `${message}.${(signature ?? made[alg]?.() ?? Buffer.alloc(0)).toString("base64url")}`;
}

export const pair = {
  RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  RS256b: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: generateKeyPairSync("ed25519"),
};
export const jwk = (name, kid) => ({ ...pair[name].publicKey.export({ format: "jwk" }), kid });

/**
 * An identity provider: publishes keys, answers about tokens, can be down. About tokens that begin
 * with "slow" it answers when it is told to.
 */
export async function provider() {
  const idp = { keys: [], opaque: new Map(), calls: [], down: false, asked: [], path: "/keys" };
  const held = [];
  const server = createServer((request, response) => {
    idp.calls.push(request.url);
    if (idp.down) return response.writeHead(500).end();
    const answer = (value) => response.end(JSON.stringify(value));
    if (request.url === idp.path) return answer({ keys: idp.keys });
    if (request.url === "/.well-known/openid-configuration") {
      return answer({ issuer: idp.url, jwks_uri: idp.url + idp.path });
    }
    if (request.method === "GET") return response.writeHead(404).end();
    let body = "";
    request.on("data", (part) => (body += part));
    return request.on("end", () => {
      const form = new URLSearchParams(body);
      idp.asked.push({ authorization: request.headers.authorization, token: form.get("token") });
      const say = () => answer(idp.opaque.get(form.get("token")) ?? { active: false });
      if (form.get("token").startsWith("slow")) held.push(say);
      else say();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  idp.url = `http://127.0.0.1:${server.address().port}`;
  idp.release = () => held.splice(0).forEach((say) => say());
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  return idp;
}

let files = 0;
/** Runs a test against a server with this configuration. */
export async function against(toml, run) {
  const file = join(folder, `${(files += 1)}.toml`);
  writeFileSync(file, `cors_origin = ["*"]\n${toml}`);
  const server = await startServer("corewire", ["--config", file]);
  const client = new Client("sio4", server.url);
  const user = (value, nsp = "/") => client.connect(nsp, { auth: { token: value } });
  const refused = async (auth, options = {}) => {
    const { data } = await client.refusal(client.socket("/", { auth, ...options }));
    return data.code;
  };
  try {
    await run({ server, client, user, refused });
    assert.ok(!server.log.some((line) => line.includes("eyJ")), "no token stands in the log");
  } finally {
    client.closeAll();
    await server.stop();
  }
}
