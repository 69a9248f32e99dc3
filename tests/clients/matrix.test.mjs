// Every generation of the official client over every transport against the conformance
// application: what a user of Socket.IO takes for granted, once per combination.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import msgpack from "socket.io-msgpack-parser";
import {
  ask, Client, collect, CONFORMANCE_FLAGS, eventually, next, plain, silent, startServer, TEST_MS,
  TRANSPORTS, upgraded, within,
} from "./lib.mjs";

const UNICODE = "Grüße, てすと, Ж, 👩‍🚀, \u2028 and \u0000 and \"quotes\" \\ end";
const NESTED = { a: [1, 2.5, -0.125, { b: null, c: true }], "ключ": UNICODE, e: "", f: [], g: {} };
const BYTES = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

const limit = { timeout: TEST_MS };

function suite(generation, transport, { name, server: start, ...extra }) {
  describe(`${name ?? generation}, ${transport}`, () => {
    const onlyPolling = transport === "polling only";
    const old = generation === "sio2";
    let server;
    let client;

    before(async () => {
      server = await start();
    });
    before(() => {
      client = new Client(generation, server.url, { ...TRANSPORTS[transport], ...extra });
    });
    afterEach(() => client.closeAll());
    after(() => server.stop());

    /** A socket whose connection has come to rest on its last transport. */
    async function settled() {
      const socket = await client.connect();
      if (!onlyPolling) await upgraded(socket);
      return socket;
    }

    test("connects and hears its auth payload", limit, async () => {
      const auth = old ? undefined : { token: "123", nested: { list: [1, null, UNICODE] } };
      const socket = client.socket("/", { auth });
      const heard = next(socket, "auth");
      await Client.up(socket);
      assert.deepEqual(await heard, [auth ?? {}]);
      assert.ok(socket.connected);
    });

    test("connects without a payload", limit, async () => {
      const socket = client.socket("/custom");
      const heard = next(socket, "auth");
      await Client.up(socket);
      assert.deepEqual(await heard, [{}]);
    });

    for (const [what, args] of [
      ["text", ["hello"]],
      ["unicode", [UNICODE]],
      ["nested JSON", [NESTED, [NESTED], 0, false, null, ""]],
      ["nothing", []],
      ["binary", [BYTES]],
      ["no bytes at all", [Buffer.alloc(0)]],
      ["binary inside JSON", [{ a: [BYTES, { b: Buffer.from("x") }], c: UNICODE }, 7, BYTES]],
      ["ten attachments", Array.from({ length: 10 }, (_, i) => Buffer.alloc(i + 1, i))],
    ]) {
      test(`a message comes back: ${what}`, limit, async () => {
        const socket = await client.connect();
        const back = next(socket, "message-back");
        socket.emit("message", ...args);
        assert.deepEqual(plain(await back), plain(args));
        assert.deepEqual(plain(await ask(socket, "message-with-ack", ...args)), plain(args));
      });
    }

    test("many acknowledgements at once find their question", limit, async () => {
      const socket = await client.connect();
      const numbers = Array.from({ length: 200 }, (_, i) => i);
      const answers = await Promise.all(
        numbers.map((i) => ask(socket, "message-with-ack", i, `text ${i}`)),
      );
      assert.deepEqual(answers, numbers.map((i) => [i, `text ${i}`]));
    });

    test("answers what the server asks", limit, async () => {
      const socket = await client.connect();
      socket.on("question", (...args) => args.pop()(...args, BYTES, "answered"));
      const answer = next(socket, "answer");
      socket.emit("ask", "why", NESTED, Buffer.from("b"));
      const expected = ["why", NESTED, Buffer.from("b"), BYTES, "answered"];
      assert.deepEqual(plain(await answer), plain(expected));
    });

    test("an event nobody answers stays unanswered", limit, async () => {
      const socket = await client.connect();
      let answered = false;
      socket.emit("never-ack", () => (answered = true));
      assert.deepEqual(await ask(socket, "message-with-ack", 1), [1]);
      assert.equal(answered, false);
    });

    test("rooms: join, size, emit, leave", limit, async () => {
      const [one, two, three] = await Promise.all([1, 2, 3].map(() => client.connect()));
      assert.deepEqual(await ask(one, "join", "r"), ["r"]);
      assert.deepEqual(await ask(two, "join", "r"), ["r"]);
      await eventually("two members", async () => (await ask(three, "room-size", "r"))[0] === 2);
      const heard = [next(one, "news"), next(two, "news")];
      await silent(three, "news", async () => {
        await ask(three, "room-emit", "r", "news", UNICODE, { deep: [BYTES] }, 3);
        for (const args of await Promise.all(heard)) {
          assert.deepEqual(plain(args), plain([UNICODE, { deep: [BYTES] }, 3]));
        }
        await ask(three, "message-with-ack");
      });
      assert.deepEqual(await ask(two, "leave", "r"), ["r"]);
      await eventually("one member", async () => (await ask(three, "room-size", "r"))[0] === 1);
      await silent(two, "more", async () => {
        const more = next(one, "more");
        await ask(one, "room-emit", "r", "more", 1);
        assert.deepEqual(await more, [1]);
        await ask(two, "message-with-ack");
      });
      one.disconnect();
      await eventually("no member", async () => (await ask(three, "room-size", "r"))[0] === 0);
    });

    test("a broadcast reaches all but its sender", limit, async () => {
      const [one, two, three] = await Promise.all([1, 2, 3].map(() => client.connect()));
      const heard = [next(two, "hear"), next(three, "hear")];
      await silent(one, "hear", async () => {
        await ask(one, "broadcast", "hear", "all", BYTES);
        for (const args of await Promise.all(heard)) {
          assert.deepEqual(plain(args), plain(["all", BYTES]));
        }
        await ask(one, "message-with-ack");
      });
    });

    test("several senders into one room: each once and in order", limit, async () => {
      const each = 40;
      const sockets = await Promise.all([1, 2, 3, 4].map(() => client.connect()));
      await Promise.all(sockets.map((socket) => ask(socket, "join", "busy")));
      const size = async () => (await ask(sockets[0], "room-size", "busy"))[0] === sockets.length;
      await eventually("all of them in the room", size);
      const heard = sockets.map((socket) => collect(socket, "n", each * sockets.length));
      for (let i = 0; i < each; i += 1) {
        sockets.forEach((socket, from) => socket.emit("room-emit", "busy", "n", from, i));
      }
      const numbers = Array.from({ length: each }, (_, i) => i);
      for (const list of await Promise.all(heard)) {
        sockets.forEach((_, from) => {
          assert.deepEqual(list.filter((n) => n[0] === from).map((n) => n[1]), numbers);
        });
      }
    });

    test("several namespaces share a connection", limit, async () => {
      const { manager, socket } = client.manager();
      const main = socket("/");
      const custom = socket("/custom", { token: "x" });
      const heard = next(custom, "auth");
      await Client.up(main);
      await Client.up(custom);
      assert.deepEqual(await heard, [{ token: "x" }]);
      assert.equal(main.io, custom.io);
      assert.notEqual(main.id, custom.id);
      const answers = await Promise.all([
        ask(main, "message-with-ack", "main", BYTES), ask(custom, "message-with-ack", "custom"),
      ]);
      assert.deepEqual(plain(answers), plain([["main", BYTES], ["custom"]]));
      custom.disconnect();
      assert.deepEqual(await ask(main, "message-with-ack", "still"), ["still"]);
      await Client.up(custom);
      assert.deepEqual(await ask(custom, "message-with-ack", "again"), ["again"]);
      assert.equal(manager.engine.readyState, "open");
    });

    test("refusals say why and disturb nobody", limit, async () => {
      const { socket } = client.manager();
      const main = await Client.up(socket("/"));
      const data = { code: "E_AUTH", retry: false };
      const guarded = await client.refusal(socket("/guarded"));
      assert.deepEqual(guarded.data, data);
      if (!old) assert.equal(guarded.message, "not authorized");
      assert.equal((await client.refusal(socket("/nowhere"))).message, "Invalid namespace");
      assert.deepEqual(await ask(main, "message-with-ack", 1), [1]);
      const allowed = await client.connect("/guarded", { auth: { token: "secret" } });
      assert.ok(allowed.connected);
    });

    test("a burst of 500 arrives in order", limit, async () => {
      const socket = await client.connect();
      const heard = collect(socket, "seq", 500);
      socket.emit("burst", 500, 100);
      const pad = "x".repeat(100);
      assert.deepEqual(await heard, Array.from({ length: 500 }, (_, i) => [i, pad]));
    });

    for (const count of [0, 1, 125, 126, 65_535, 65_536, 500_000]) {
      test(`${count} bytes as an answer`, limit, async () => {
        const socket = await client.connect();
        assert.deepEqual(plain(await ask(socket, "bytes", count)), plain([Buffer.alloc(count, 7)]));
      });
    }

    test("large messages both ways", limit, async () => {
      const socket = await settled();
      const text = "a".repeat(600_000);
      const wide = "て".repeat(200_000);
      const bytes = Buffer.alloc(600_000, 9);
      const both = { deep: [bytes.subarray(0, 200_000), wide.slice(0, 100_000)] };
      for (const value of [text, wide, bytes, both]) {
        assert.deepEqual(plain(await ask(socket, "message-with-ack", value)), plain([value]));
      }
    });

    test("300 at once, from before the upgrade on, come back in order", limit, async () => {
      const socket = client.socket();
      const heard = collect(socket, "message-back", 300);
      const odd = (i) => (i % 10 === 0 ? [i, Buffer.alloc(i, i)] : [i, "x".repeat(i)]);
      for (let i = 0; i < 100; i += 1) socket.emit("message", ...odd(i));
      await Client.up(socket);
      for (let i = 100; i < 200; i += 1) socket.emit("message", ...odd(i));
      if (!onlyPolling) await upgraded(socket);
      for (let i = 200; i < 300; i += 1) socket.emit("message", ...odd(i));
      const expected = Array.from({ length: 300 }, (_, i) => odd(i));
      assert.deepEqual(plain(await heard), plain(expected));
    });

    test("the server's burst goes on in order across the upgrade", limit, async () => {
      const socket = client.socket();
      const heard = collect(socket, "seq", 1_000);
      for (let i = 0; i < 10; i += 1) socket.emit("burst", 100, 10);
      await Client.up(socket);
      const order = (await heard).map(([i]) => i);
      assert.deepEqual(order, Array.from({ length: 1_000 }, (_, i) => i % 100));
    });

    if (!old) {
      test("volatile arrives when the pipe is free", limit, async () => {
        const socket = await settled();
        let heard;
        socket.on("message-back", (...args) => (heard = args));
        await eventually("a volatile message goes through", async () => {
          socket.volatile.emit("message", "maybe", 1);
          await ask(socket, "message-with-ack");
          return heard;
        });
        assert.deepEqual(heard, ["maybe", 1]);
      });
    }

    test("whoami tells the facts", limit, async () => {
      const query = { color: "dark blue", "&a": "&=?ü" };
      const socket = await client.connect("/", { query });
      if (!onlyPolling) await upgraded(socket);
      const [facts] = await ask(socket, "whoami");
      assert.equal(facts.sid, socket.id);
      assert.equal(facts.recovered, false);
      assert.deepEqual(facts.rooms, [socket.id]);
      assert.equal(facts.transport, onlyPolling ? "polling" : "websocket");
      assert.equal(facts.query.color, "dark blue");
      assert.equal(facts.query["&a"], "&=?ü");
      assert.equal(facts.query.EIO, old ? "3" : "4");
      // The public id of an EIO 4 client is not its transport's secret.
      assert.equal(socket.id === socket.io.engine.id, old);
    });

    test("lives through heartbeats", limit, async () => {
      const socket = await settled();
      let beats = 0;
      await within(
        new Promise((done) => {
          socket.io.engine.on("packet", ({ type }) => {
            if (type === (old ? "pong" : "ping") && (beats += 1) === 4) done();
          });
        }),
        "four heartbeats",
      );
      assert.deepEqual(await ask(socket, "message-with-ack", "alive"), ["alive"]);
    });

    test("the server disconnects a namespace", limit, async () => {
      const { manager, socket } = client.manager();
      const main = await Client.up(socket("/"));
      const custom = await Client.up(socket("/custom"));
      const gone = next(main, "disconnect");
      main.emit("disconnect-me", false);
      assert.equal((await gone)[0], "io server disconnect");
      assert.deepEqual(await ask(custom, "message-with-ack", 1), [1]);
      assert.equal(manager.engine.readyState, "open");
    });

    test("the server disconnects the transport", limit, async () => {
      const { manager, socket } = client.manager();
      const main = await Client.up(socket("/"));
      const custom = await Client.up(socket("/custom"));
      const gone = [next(main, "disconnect"), next(custom, "disconnect")];
      const closed = next(manager.engine, "close");
      main.emit("disconnect-me", true);
      for (const [reason] of await Promise.all(gone)) {
        assert.equal(reason, "io server disconnect");
      }
      await closed;
    });

    test("a killed transport is no farewell", limit, async () => {
      const socket = await settled();
      const gone = next(socket, "disconnect");
      socket.emit("kill-transport");
      assert.equal((await gone)[0], "transport close");
    });

    test("comes back after a lost transport, as somebody new", limit, async () => {
      const socket = client.socket("/", {
        reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50,
      });
      await Client.up(socket);
      await ask(socket, "join", "before");
      const first = socket.id;
      const again = next(socket, "connect");
      socket.io.engine.close();
      await again;
      assert.notEqual(socket.id, first);
      assert.deepEqual((await ask(socket, "whoami"))[0].rooms, [socket.id]);
    });
  });
}

const conformance = (...more) => () => startServer("conformance", [...CONFORMANCE_FLAGS, ...more]);

for (const transport of Object.keys(TRANSPORTS)) {
  suite("sio4", transport, { server: conformance() });
  suite("sio4", transport, {
    name: "sio4 with msgpack", server: conformance(), parser: msgpack,
  });
  suite("sio3", transport, { server: conformance() });
  suite("sio2", transport, { server: conformance("--eio3") });
}

describe("clients of different kinds in one room", () => {
  let server;
  const clients = [];
  before(async () => {
    server = await startServer("conformance", [...CONFORMANCE_FLAGS, "--eio3"]);
  });
  afterEach(() => clients.splice(0).forEach((client) => client.closeAll()));
  after(() => server.stop());

  test("each hears each, binary and all, once and in order", limit, async () => {
    const kinds = [
      ["default, polling", "sio4", TRANSPORTS["polling only"]],
      ["default, websocket", "sio4", TRANSPORTS["websocket only"]],
      ["msgpack, polling", "sio4", { ...TRANSPORTS["polling only"], parser: msgpack }],
      ["msgpack, websocket", "sio4", { ...TRANSPORTS["websocket only"], parser: msgpack }],
      ["third generation", "sio3", TRANSPORTS["polling then upgrade"]],
      ["second generation, polling", "sio2", TRANSPORTS["polling only"]],
      ["second generation, websocket", "sio2", TRANSPORTS["websocket only"]],
    ];
    const members = await Promise.all(
      kinds.map(async ([name, generation, options]) => {
        const client = new Client(generation, server.url, options);
        clients.push(client);
        const socket = await client.connect();
        await ask(socket, "join", "mixed");
        return { name, socket };
      }),
    );
    const size = async () => (await ask(members[0].socket, "room-size", "mixed"))[0];
    await eventually("all in the room", async () => (await size()) === members.length);
    const each = 5;
    const heard = members.map(({ socket }) => collect(socket, "mix", each * members.length));
    const payload = (from, i) => [
      from, i, { text: UNICODE, bytes: [BYTES, Buffer.from(`${from} ${i}`)], number: 0.1 }, null,
    ];
    for (let i = 0; i < each; i += 1) {
      for (const { name, socket } of members) {
        socket.emit("room-emit", "mixed", "mix", ...payload(name, i));
      }
    }
    for (const [at, list] of (await Promise.all(heard)).entries()) {
      for (const { name } of members) {
        assert.deepEqual(
          plain(list.filter((args) => args[0] === name)),
          plain(Array.from({ length: each }, (_, i) => payload(name, i))),
          `from "${name}" to "${members[at].name}"`,
        );
      }
    }
  });

  test("what msgpack can say and JSON cannot becomes JSON", limit, async () => {
    const packed = new Client("sio4", server.url, { parser: msgpack });
    const text = new Client("sio4", server.url);
    clients.push(packed, text);
    const [from, to] = await Promise.all([packed.connect(), text.connect()]);
    await ask(to, "join", "json");
    await eventually("a member", async () => (await ask(from, "room-size", "json"))[0] === 1);
    const heard = next(to, "odd");
    from.emit("room-emit", "json", "odd", undefined, new Date(0), { u: undefined, n: null });
    const [nothing, date, object] = await heard;
    assert.equal(nothing, null);
    assert.equal(date, "1970-01-01T00:00:00.000Z");
    assert.equal(object.n, null);
    assert.equal(object.u ?? null, null);
  });
});
