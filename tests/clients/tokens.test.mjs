// Tokens as a client meets them, with an identity provider of a few lines: who gets in, who does
// not and why, what a token permits, how it ends, is renewed and taken back.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  constants, createHmac, createSign, generateKeyPairSync, sign as signBytes,
} from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { promisify } from "node:util";
import {
  ask, BINARIES, Client, eventually, failed, metric, next, rest, startServer, succeeded, TEST_MS,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
const folder = mkdtempSync(join(tmpdir(), "corewire-tokens-"));
after(() => rmSync(folder, { recursive: true }));

const SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const seconds = () => Math.floor(Date.now() / 1000);
const b64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value))
  .toString("base64url");

/** Signs whatever it is told to, right or wrong. */
function token(claims, { alg = "HS256", key = SECRET, header = {}, signature } = {}) {
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

const pair = {
  RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  RS256b: generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  EdDSA: generateKeyPairSync("ed25519"),
};
const jwk = (name, kid) => ({ ...pair[name].publicKey.export({ format: "jwk" }), kid });

/** An identity provider: publishes keys, answers about tokens, can be down. */
async function provider() {
  const idp = { keys: [], opaque: new Map(), calls: [], down: false, asked: [] };
  const server = createServer((request, response) => {
    idp.calls.push(request.url);
    if (idp.down) return response.writeHead(500).end();
    const answer = (value) => response.end(JSON.stringify(value));
    if (request.url === "/keys") return answer({ keys: idp.keys });
    if (request.url === "/.well-known/openid-configuration") {
      return answer({ issuer: idp.url, jwks_uri: `${idp.url}/keys` });
    }
    let body = "";
    request.on("data", (part) => (body += part));
    return request.on("end", () => {
      const form = new URLSearchParams(body);
      idp.asked.push({ authorization: request.headers.authorization, token: form.get("token") });
      answer(idp.opaque.get(form.get("token")) ?? { active: false });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  idp.url = `http://127.0.0.1:${server.address().port}`;
  idp.close = () => server.closeAllConnections?.() ?? server.close();
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  return idp;
}

let files = 0;
/** Runs a test against a server with this configuration. */
async function against(toml, run) {
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

const jwt = `auth_mode = "jwt"\njwt_secret = "${SECRET}"\njwt_leeway_ms = 0\n`;

describe("signed with a shared secret", () => {
  test("identity is the token's, wherever the token stands", limit, () =>
    against(`${jwt}token_in_query = true`, async ({ server, client, user, refused }) => {
      const good = token({ sub: "ann", sid: "s1" });
      await user(good);
      await client.connect("/", { extraHeaders: { authorization: `Bearer ${good}` } });
      await client.connect("/", { query: { access_token: good } });
      const { body } = await rest(server.admin, "GET", "/socket/users");
      assert.deepEqual(body.data.map(({ id, sessionId }) => [id, sessionId]),
        Array(3).fill(["ann", "s1"]));
      await client.connect("/", { auth: { token: good, userId: "ann", sessionId: "s1" } });
      assert.equal(await refused({ token: good, userId: "bob" }), "IDENTITY_MISMATCH");
      assert.equal(await refused({ token: good, sessionId: "s2" }), "IDENTITY_MISMATCH");
      assert.equal(await refused({ userId: "ann" }), "TOKEN_MISSING");
      assert.equal(await metric(server, "corewire_tokens_taken_total"), 4);
      assert.equal(await metric(server, "corewire_tokens_refused_total"), 3);
      assert.ok(server.log.some((line) => line.includes("contradicts the token")));
    }));

  test("a token in the query is none unless that is allowed", limit, () =>
    against(jwt, async ({ refused }) => {
      const query = { access_token: token({ sub: "ann" }) };
      assert.equal(await refused(undefined, { query }), "TOKEN_MISSING");
    }));

  test("each broken rule has its code", limit, () =>
    against(`${jwt}jwt_audience = ["here"]\njwt_issuer = ["us"]`, async ({ client, refused }) => {
      const good = { sub: "ann", aud: "here", iss: "us" };
      const code = (claims, how) => refused({ token: token({ ...good, ...claims }, how) });
      assert.equal(await code({ exp: seconds() - 1 }), "TOKEN_EXPIRED");
      assert.equal(await code({ nbf: seconds() + 60 }), "TOKEN_NOT_YET_VALID");
      assert.equal(await code({ aud: "there" }), "TOKEN_WRONG_AUDIENCE");
      assert.equal(await code({ iss: "them" }), "TOKEN_WRONG_ISSUER");
      assert.equal(await code({ sub: undefined }), "TOKEN_BAD_CLAIMS");
      assert.equal(await code({}, { key: "another secret" }), "TOKEN_BAD_SIGNATURE");
      assert.equal(await code({}, { alg: "none" }), "TOKEN_ALG_NOT_ALLOWED");
      assert.equal(await code({}, { header: { crit: ["exp"] } }), "TOKEN_MALFORMED");
      assert.equal(await code({ pad: "x".repeat(9000) }), "TOKEN_TOO_LARGE");
      assert.equal(await refused({ token: "abc" }), "TOKEN_MALFORMED");
      assert.equal(await refused({ token: 7 }), "TOKEN_MISSING");
      const { data } = await client.refusal(client.socket("/", { auth: { token: "abc" } }));
      assert.deepEqual(data, { code: "TOKEN_MALFORMED", retryable: false });
    }));

  test("a kid finds a key by its name and nothing else", limit, () =>
    against(
      `auth_mode = "jwt"\n[[jwt_keys]]\nkid = "a"\nalgs = ["HS256"]\nsecret = "${SECRET}"`,
      async ({ user, refused }) => {
        await user(token({ sub: "ann" }, { header: { kid: "a" } }));
        for (const kid of ["b", "../a", "a' or '1'='1", "/dev/null", ""]) {
          const value = token({ sub: "ann" }, { header: { kid } });
          assert.equal(await refused({ token: value }), "TOKEN_UNKNOWN_KEY", kid);
        }
      },
    ));
});

describe("what a token permits", () => {
  test("namespaces, rooms, events in rooms", limit, () =>
    against(`${jwt}namespaces = ["/ops"]`, async ({ server, user, client }) => {
      const sio = {
        ns: ["/"],
        rooms: ["team:1"],
        caps: [{ rooms: ["order:*"], allow: ["join"] }, { rooms: ["order:1"], allow: ["emit"] }],
      };
      const good = token({ sub: "ann", sio });
      const socket = await user(good);
      const { data } = await client.refusal(client.socket("/ops", { auth: { token: good } }));
      assert.equal(data.code, "NAMESPACE_NOT_GRANTED");
      const code = async (event, payload) => (await ask(socket, event, payload))[0].error?.code;
      assert.equal(await code("room:join", { roomId: "order:1" }), undefined);
      assert.equal(await code("room:join", { roomId: "other" }), "FORBIDDEN");
      assert.equal(await code("room:join", { roomId: "user:bob" }), "FORBIDDEN");
      const say = (roomId) => ({ roomId, event: "said", data: 1 });
      assert.equal(await code("room:message", say("order:1")), undefined);
      assert.equal(await code("room:message", say("order:2")), "FORBIDDEN");
      const rooms = await eventually("the keepers have heard of it", async () => {
        const found = succeeded(await rest(server.admin, "GET", "/socket/rooms"));
        return found.length === 2 && found;
      });
      assert.deepEqual(rooms.map(({ id, userCount }) => [id, userCount]).sort(),
        [["order:1", 1], ["team:1", 1]]);
    }));
});

describe("how it ends", () => {
  test("its bearer is told, brings another, and loses what that does not permit", limit, () =>
    against(jwt, async ({ server, user }) => {
      const caps = [{ rooms: ["a", "b"], allow: ["join"] }];
      const socket = await user(token({ sub: "ann", exp: seconds() + 20, sio: { caps } }));
      const [{ inMs }] = await next(socket, "auth_expiring");
      assert.ok(inMs > 10_000 && inMs <= 20_000, String(inMs));
      await ask(socket, "room:join", { roomId: "a" });
      await ask(socket, "room:join", { roomId: "b" });
      const refresh = async (claims, how) =>
        (await ask(socket, "auth_refresh", { token: token(claims, how) }))[0];
      assert.equal((await refresh({ sub: "bob" })).error.code, "IDENTITY_MISMATCH");
      assert.equal((await refresh({ sub: "ann" }, { key: "wrong" })).error.code,
        "TOKEN_BAD_SIGNATURE");
      assert.equal((await ask(socket, "auth_refresh"))[0].error.code, "TOKEN_MISSING");
      const lost = next(socket, "room_revoked");
      const kept = [{ rooms: ["a"], allow: ["join"] }];
      const answer = await refresh({ sub: "ann", sio: { caps: kept, rooms: ["c"] } });
      assert.deepEqual(answer, { success: true, status: "accepted" });
      assert.deepEqual(await lost, [{ roomId: "b" }]);
      await eventually("the keepers have heard of it", async () => {
        const found = succeeded(await rest(server.admin, "GET", "/socket/rooms"));
        return found.map(({ id }) => id).sort().join() === "a,c";
      });
      assert.equal(await metric(server, "corewire_tokens_refreshed_total"), 1);
      assert.equal(await metric(server, "corewire_tokens_refused_total"), 3);
    }));

  test("who brings none is closed, and comes back with a fresh one", limit, () =>
    against(jwt, async ({ server, client }) => {
      let made = 0;
      const auth = (give) => {
        made += 1;
        give({ token: token({ sub: "ann", exp: seconds() + (made === 1 ? 2 : 600) }) });
      };
      const socket = await client.connect("/", { auth, reconnection: true, reconnectionDelay: 10 });
      const [reason] = await next(socket, "disconnect");
      assert.equal(reason, "transport close");
      await next(socket, "connect");
      assert.equal(made, 2);
      await eventually("it is counted", async () =>
        (await metric(server, "corewire_tokens_expired_total")) === 1);
    }));

  test("it is taken back, by id, by user, by time of issue", limit, () =>
    against(jwt, async ({ server, user, refused }) => {
      const now = seconds();
      const revoke = async (body) =>
        succeeded(await rest(server.admin, "POST", "/api/v1/auth/revoke", body)).disconnected;
      const one = token({ sub: "ann", jti: "t1", iat: now });
      const other = token({ sub: "ann", jti: "t2", iat: now - 100 });
      const [first, second] = [await user(one), await user(other)];
      const gone = next(first, "disconnect");
      assert.equal(await revoke({ tokenId: "t1" }), 1);
      await gone;
      assert.equal(second.connected, true);
      assert.equal(await refused({ token: one }), "TOKEN_REVOKED");
      const away = next(second, "disconnect");
      assert.equal(await revoke({ userId: "ann", issuedBefore: now - 50 }), 1);
      await away;
      assert.equal(await refused({ token: other }), "TOKEN_REVOKED");
      const third = await user(token({ sub: "ann", iat: now }));
      assert.equal(await revoke({ userId: "ann", disconnect: false }), 0);
      assert.equal((await ask(third, "auth_refresh", { token: token({ sub: "ann" }) }))[0].error.code,
        "TOKEN_REVOKED");
      const bob = token({ sub: "bob", iat: now - 10 });
      await user(bob);
      assert.equal(await revoke({ issuedBefore: now - 5, ttlMs: 60_000 }), 1);
      assert.equal(await refused({ token: bob }), "TOKEN_REVOKED");
      for (const body of [{}, { tokenId: "a", userId: "b" }, { user: "x" }]) {
        failed(await rest(server.admin, "POST", "/api/v1/auth/revoke", body), 422,
          "VALIDATION_FAILED");
      }
    }));
});

describe("public keys", () => {
  test("of the configuration", limit, () => {
    const pem = (name) => pair[name].publicKey.export({ type: "spki", format: "pem" });
    const file = join(folder, "rsa.pem");
    writeFileSync(file, pem("RS256"));
    return against(
      `auth_mode = "jwt"
      [[jwt_keys]]
      kid = "r"
      algs = ["RS256"]
      public_key = "${file}"
      [[jwt_keys]]
      kid = "e"
      algs = ["ES256"]
      public_key = """${pem("ES256")}"""
      [[jwt_keys]]
      algs = ["EdDSA"]
      public_key = """${pem("EdDSA")}"""`,
      async ({ user, refused }) => {
        const by = (alg, kid, more = {}) =>
          token({ sub: "ann" }, { alg, key: pair[alg]?.privateKey, header: { kid }, ...more });
        await user(by("RS256", "r"));
        await user(by("ES256", "e"));
        await user(by("EdDSA", undefined));
        const key = pair.RS256.privateKey;
        assert.equal(await refused({ token: by("PS256", "r", { key }) }), "TOKEN_ALG_NOT_ALLOWED");
        assert.equal(await refused({ token: by("ES256", "r") }), "TOKEN_ALG_NOT_ALLOWED");
        // The classic: the public key as the secret of an HMAC.
        const confused = by("HS256", "r", { key: pem("RS256") });
        assert.equal(await refused({ token: confused }), "TOKEN_ALG_NOT_ALLOWED");
        const other = by("RS256", "r", { key: pair.RS256b.privateKey });
        assert.equal(await refused({ token: other }), "TOKEN_BAD_SIGNATURE");
      },
    );
  });

  test("published ones are fetched, kept, and fetched again when a new one appears", limit, async () => {
    const idp = await provider();
    idp.keys = [jwk("RS256", "one")];
    const by = (name, kid) =>
      token({ sub: "ann", iss: idp.url }, { alg: "RS256", key: pair[name].privateKey, header: { kid } });
    await against(`auth_mode = "jwt"\noidc_issuer = "${idp.url}"`, async ({ user, refused, server }) => {
      const fetches = () => idp.calls.filter((url) => url === "/keys").length;
      await user(by("RS256", "one"));
      await user(by("RS256", "one"));
      assert.equal(fetches(), 1);
      idp.keys = [jwk("RS256", "one"), jwk("RS256b", "two")];
      await user(by("RS256b", "two"));
      assert.equal(fetches(), 2);
      for (let at = 0; at < 3; at += 1) {
        assert.equal(await refused({ token: by("RS256b", "three") }), "TOKEN_UNKNOWN_KEY");
      }
      assert.equal(fetches(), 3, "a name looked for in vain is not looked for again");
      for (let at = 0; at < 20; at += 1) await refused({ token: by("RS256b", `random-${at}`) });
      assert.ok(fetches() < 15, String(fetches()));
      const stranger = token({ sub: "ann", iss: "them" },
        { alg: "RS256", key: pair.RS256.privateKey, header: { kid: "one" } });
      assert.equal(await refused({ token: stranger }), "TOKEN_WRONG_ISSUER");
      idp.down = true;
      await user(by("RS256", "one"));
      assert.equal(await metric(server, "corewire_tokens_taken_total"), 4);
    });
  });

  test("a provider that is down is named, and asked again", limit, async () => {
    const idp = await provider();
    idp.down = true;
    await against(`auth_mode = "jwt"\njwks_url = "${idp.url}/keys"`, async ({ client, user }) => {
      const by = token({ sub: "ann" },
        { alg: "EdDSA", key: pair.EdDSA.privateKey, header: { kid: "ed" } });
      const { data } = await client.refusal(client.socket("/", { auth: { token: by } }));
      assert.deepEqual(data, { code: "AUTH_UNAVAILABLE", retryable: true });
      idp.keys = [jwk("EdDSA", "ed")];
      idp.down = false;
      await eventually("the keys are there", () => user(by));
    });
  });
});

describe("opaque tokens", () => {
  const options = (idp, more = "") => `auth_mode = "introspection"
    introspection_url = "${idp.url}/introspect"
    introspection_client_id = "gate"
    introspection_client_secret = "s3cret:with/all"
    ${more}`;

  test("are asked about once, whoever brings them meanwhile", limit, async () => {
    const idp = await provider();
    idp.opaque.set("good", { active: true, sub: "ann", sio: { rooms: ["team:1"] } });
    idp.opaque.set("old", { active: true, sub: "ann", exp: seconds() - 60 });
    await against(options(idp), async ({ user, refused }) => {
      const sockets = await Promise.all([user("good"), user("good"), user("good")]);
      assert.equal(sockets.length, 3);
      assert.equal(idp.asked.length, 1);
      const basic = Buffer.from("gate:s3cret%3Awith%2Fall").toString("base64");
      assert.deepEqual(idp.asked[0], { authorization: `Basic ${basic}`, token: "good" });
      assert.equal(await refused({ token: "bad" }), "TOKEN_INACTIVE");
      assert.equal(await refused({ token: "bad" }), "TOKEN_INACTIVE");
      assert.equal(idp.asked.length, 2, "a bad one is remembered too");
      assert.equal(await refused({ token: "old" }), "TOKEN_EXPIRED");
    });
  });

  test("new ones are refused while the provider is down, and it is left alone", limit, async () => {
    const idp = await provider();
    idp.down = true;
    await against(options(idp), async ({ refused }) => {
      for (let at = 0; at < 12; at += 1) {
        assert.equal(await refused({ token: `t${at}` }), "AUTH_UNAVAILABLE");
      }
      assert.equal(idp.calls.length, 5, "after five failures nobody asks for a while");
    });
  });
});

describe("the command", () => {
  const run = promisify(execFile);
  const corewire = (args) => run(BINARIES.corewire, ["token", ...args]).then(
    ({ stdout }) => ({ code: 0, out: stdout.trim() }),
    ({ code, stderr }) => ({ code, out: stderr.trim() }),
  );

  test("makes tokens that the server takes, and checks them", limit, async () => {
    const file = join(folder, "command.toml");
    const key = join(folder, "ec.key");
    const pem = pair.ES256.publicKey.export({ type: "spki", format: "pem" });
    writeFileSync(key, pair.ES256.privateKey.export({ type: "pkcs8", format: "pem" }));
    writeFileSync(file, `auth_mode = "jwt"\njwt_audience = ["here"]\njwt_issuer = ["us"]
      listen = "127.0.0.1:0"
      [[jwt_keys]]\nkid = "h"\nalgs = ["HS256"]\nsecret = "${SECRET}"
      [[jwt_keys]]\nkid = "e"\nalgs = ["ES256"]\npublic_key = """${pem}"""
      private_key_file = "${key}"`);
    const config = ["--config", file];
    for (const kid of ["h", "e"]) {
      const made = await corewire(["make", "--user", "ann", "--session", "s1", "--ttl", "1h",
        "--room", "team:1", "--join", "order:*", "--label", "plan=pro", "--key", kid, ...config]);
      assert.equal(made.code, 0, made.out);
      const checked = await corewire(["check", made.out, ...config]);
      assert.equal(checked.code, 0, checked.out);
      const { exp, iat, ...claims } = JSON.parse(checked.out);
      assert.equal(exp - iat, 3600);
      assert.deepEqual(claims, { sub: "ann", sid: "s1", aud: "here", iss: "us", sio: {
        rooms: ["team:1"], caps: [{ rooms: ["order:*"], allow: ["join"] }], labels: { plan: "pro" } } });
      const server = await startServer("corewire", config);
      const client = new Client("sio4", server.url);
      await client.connect("/", { auth: { token: made.out } });
      client.closeAll();
      await server.stop();
    }
    const old = await corewire(["check", token({ sub: "a", exp: 1 }, { header: { kid: "h" } }), ...config]);
    assert.deepEqual([old.code, old.out.split("\n").pop()],
      [1, "corewire: TOKEN_EXPIRED: the token has expired"]);
    assert.equal((await corewire(["make", ...config])).code, 2);
    assert.equal((await corewire(["make", "--user", "a", "--room", "user:b", ...config])).code, 2);
  });
});
