// Tokens as a client meets them, with an identity provider of a few lines: who gets in, who does
// not and why, what a token permits, how it ends, is renewed and taken back.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { against, folder, jwk, pair, provider, SECRET, seconds, token } from "./idp.mjs";
import {
  ask, BINARIES, Client, eventually, failed, metric, next, rest, startServer, succeeded,
  TEST_MS,
} from "./lib.mjs";
import { hook, Receiver } from "./receiver.mjs";

const limit = { timeout: TEST_MS };

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
      for (const header of [{ crit: ["exp"] }, { crit: null }, { b64: false }]) {
        assert.equal(await code({}, { header }), "TOKEN_MALFORMED", JSON.stringify(header));
      }
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

describe("with a webhook that is asked, too", () => {
  test("what was taken back meanwhile does not get in", limit, async () => {
    const door = await new Receiver().listen();
    try {
      const answers = [];
      door.answer = () => new Promise((say) => answers.push(() => say({ json: { allow: true, userId: "ann" } })));
      const toml = `${jwt}${hook("door", door.url, ["connect"], "timeout_ms = 20000")}`;
      await against(toml, async ({ server, client, user }) => {
        const one = client.refusal(client.socket("/", { auth: { token: token({ sub: "ann", jti: "t1" }) } }));
        const other = user(token({ sub: "ann", jti: "t2" }));
        await door.heard("both are asked about", () => door.calls.length === 2);
        const { disconnected } = succeeded(
          await rest(server.admin, "POST", "/api/v1/auth/revoke", { tokenId: "t1" }));
        assert.equal(disconnected, 0, "nobody is in");
        answers.forEach((say) => say());
        assert.deepEqual((await one).data, { code: "TOKEN_REVOKED", retryable: false });
        assert.equal((await other).connected, true, "the other token is as good as before");
      });
    } finally {
      await door.close();
    }
  });
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

  test("they are found where the issuer says that they are now", limit, async () => {
    const idp = await provider();
    const by = (kid) => token({ sub: "ann", iss: idp.url },
      { alg: "EdDSA", key: pair.EdDSA.privateKey, header: { kid } });
    await against(`auth_mode = "jwt"\noidc_issuer = "${idp.url}"`, async ({ user }) => {
      idp.keys = [jwk("EdDSA", "old")];
      await eventually("the keys are there", () => user(by("old")));
      [idp.keys, idp.path] = [[jwk("EdDSA", "new")], "/moved"];
      await eventually("the keys are found", () => user(by("new")));
    });
  });

  test("old ones serve while the provider is down, if that is wanted", limit, async () => {
    const idp = await provider();
    idp.keys = [jwk("EdDSA", "ed")];
    const by = token({ sub: "ann" },
      { alg: "EdDSA", key: pair.EdDSA.privateKey, header: { kid: "ed" } });
    const toml = `auth_mode = "jwt"\njwks_url = "${idp.url}/keys"\njwks_refresh_ms = 1000\n`;
    await against(toml, (strict) =>
      against(`${toml}on_idp_error = "allow_cached"`, async (patient) => {
        await strict.user(by);
        await patient.user(by);
        idp.down = true;
        await eventually("the keys are too old for one", () =>
          strict.user(by).then((socket) => !socket.close(), () => true));
        assert.equal(await strict.refused({ token: by }), "AUTH_UNAVAILABLE");
        await patient.user(by);
        const stranger = token({ sub: "ann" },
          { alg: "EdDSA", key: pair.EdDSA.privateKey, header: { kid: "stranger" } });
        assert.equal(await patient.refused({ token: stranger }), "AUTH_UNAVAILABLE");
      }));
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

  test("good ones serve while the provider is down, if that is wanted", limit, async () => {
    const idp = await provider();
    idp.opaque.set("good", { active: true, sub: "ann" });
    // Asked about each time, so that each time nobody can be.
    const toml = options(idp, "introspection_fresh_ms = 0\n");
    await against(toml, (strict) =>
      against(`${toml}on_idp_error = "allow_cached"`, async (patient) => {
        await strict.user("good");
        await patient.user("good");
        idp.down = true;
        assert.equal(await strict.refused({ token: "good" }), "AUTH_UNAVAILABLE");
        for (let at = 0; at < 8; at += 1) await patient.user("good");
        assert.equal(idp.calls.length, 8, "two, one, and five before it is left alone");
        assert.equal(await patient.refused({ token: "new" }), "AUTH_UNAVAILABLE");
      }));
  });

  test("new ones of those inside take no place from those at the door", limit, async () => {
    const idp = await provider();
    const names = ["a", "b", "c"];
    for (const name of [...names, "late"]) idp.opaque.set(name, { active: true, sub: name });
    await against(options(idp, "idp_timeout_ms = 20000"), async ({ server, user }) => {
      const sockets = await Promise.all(names.map((name) => user(name)));
      const answers = sockets.map((socket, at) => {
        const codes = new Array(300).fill(0).map((_, number) => new Promise((told) => {
          const value = { token: `slow-${at}-${number}` };
          socket.emit("auth_refresh", value, ({ error }) => told([error.code, error.retryable]));
        }));
        return { held: codes[0], others: codes.slice(1) };
      });
      for (const { others } of answers) {
        const told = await Promise.all(others);
        assert.deepEqual(told, others.map(() => ["TOO_MANY_PENDING", true]));
      }
      // The provider keeps its answers to itself all the while.
      await user("late");
      assert.equal(await metric(server, "corewire_events_limited_total"), 3 * 299);
      idp.release();
      for (const { held } of answers) assert.deepEqual(await held, ["TOKEN_INACTIVE", false]);
      const slow = idp.asked.filter(({ token: asked }) => asked.startsWith("slow"));
      assert.equal(slow.length, 3);
      idp.opaque.set("fresh", { active: true, sub: "a" });
      const [{ success }] = await ask(sockets[0], "auth_refresh", { token: "fresh" });
      assert.equal(success, true, "one after the other they are judged");
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
    assert.equal((await corewire(["check", old.out, "--config", join(folder, "none")])).code, 2);
    assert.equal((await corewire(["make", ...config])).code, 2);
    assert.equal((await corewire(["make", "--user", "a", "--room", "user:b", ...config])).code, 2);
  });
});
