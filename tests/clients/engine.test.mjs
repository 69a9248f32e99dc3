// The bare engine: the official engine.io-client against the raw echo, and a WebSocket library
// against the plain WebSocket echo of the conformance program.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Socket } from "engine.io-client";
import { WebSocket } from "ws";
import {
  collect, CONFORMANCE_FLAGS, next, plain, startServer, TEST_MS, TRANSPORTS, within,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
let server;
const open = new Set();

before(async () => {
  server = await startServer("conformance", CONFORMANCE_FLAGS);
});
afterEach(() => {
  open.forEach((socket) => (socket.terminate ? socket.terminate() : socket.close()));
  open.clear();
});
after(() => server.stop());

function engine(options) {
  const socket = new Socket(server.url, { path: "/engine.io/", ...options });
  open.add(socket);
  return socket;
}

async function webSocket(path, options = {}, at = server) {
  const socket = new WebSocket(at.ws + path, options);
  open.add(socket);
  await next(socket, "open");
  return socket;
}

for (const [transport, options] of Object.entries(TRANSPORTS)) {
  describe(`engine.io-client, ${transport}`, () => {
    test("opens with the settings of the server", limit, async () => {
      const socket = engine(options);
      const [handshake] = await next(socket, "handshake");
      assert.equal(handshake.pingInterval, 300);
      assert.equal(handshake.pingTimeout, 5000);
      assert.equal(handshake.maxPayload, 1_000_000);
      const upgrades = options.transports[0] === "polling" ? ["websocket"] : [];
      assert.deepEqual(handshake.upgrades, upgrades);
      assert.ok(handshake.sid.length >= 20);
      if (socket.readyState !== "open") await next(socket, "open");
      if (options.transports.length === 2) await next(socket, "upgrade");
    });

    test("every message comes back, in order", limit, async () => {
      const socket = engine(options);
      const heard = collect(socket, "message", 300);
      await next(socket, "open");
      const message = (i) => {
        if (i % 3 === 1) return Buffer.alloc(i, i);
        return i % 3 === 2 ? `Ж てすと 👩‍🚀 ${i}` : "x".repeat(i + 1);
      };
      const sent = Array.from({ length: 300 }, (_, i) => message(i));
      sent.forEach((data) => socket.send(data));
      assert.deepEqual(plain((await heard).map(([data]) => data)), plain(sent));
    });

    test("large messages", limit, async () => {
      const socket = engine(options);
      await next(socket, "open");
      for (const data of ["a".repeat(900_000), Buffer.alloc(700_000, 1), "て".repeat(300_000)]) {
        const heard = next(socket, "message");
        socket.send(data);
        assert.deepEqual(plain(await heard), plain([data]));
      }
    });

    test("lives through heartbeats and closes by itself", limit, async () => {
      const socket = engine(options);
      await collect(socket, "ping", 3);
      const closed = next(socket, "close");
      socket.close();
      assert.equal((await closed)[0], "forced close");
    });
  });
}

describe("limits", () => {
  test("a WebSocket message over the limit closes with 1009", limit, async () => {
    const socket = await webSocket("/engine.io/?EIO=4&transport=websocket");
    const closed = next(socket, "close");
    socket.send(`4${"x".repeat(1_000_001)}`);
    assert.equal((await closed)[0], 1009);
  });

  test("a POST over the limit is 413 and the session lives", limit, async () => {
    const url = `${server.url}/engine.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1));
    const post = (body) => fetch(`${url}&sid=${sid}`, { method: "POST", body });
    assert.equal((await post("4".repeat(1_000_001))).status, 413);
    assert.equal((await post("4hello")).status, 200);
    assert.match(await (await fetch(`${url}&sid=${sid}`)).text(), /4hello/);
  });

  test("a text frame that is no UTF-8 closes with 1007", limit, async () => {
    const socket = await webSocket("/engine.io/?EIO=4&transport=websocket");
    const closed = next(socket, "close");
    socket.send(Buffer.from([0x34, 0xff, 0xfe]), { binary: false });
    assert.equal((await closed)[0], 1007);
  });
});

/** The checks of the plain WebSocket echo, at the server `at` gives when they run. */
function echo(at, perMessageDeflate) {
  const options = {
    perMessageDeflate: perMessageDeflate && { threshold: 0 }, maxPayload: 32 << 20,
  };

  test("text, binary, empty and large", limit, async () => {
    const socket = await webSocket("/ws-echo", options, at());
    assert.equal(socket.extensions.includes("permessage-deflate"), perMessageDeflate);
    const random = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * i * 31) >> 3));
    const zeros = Buffer.alloc(4 << 20);
    for (const data of ["", "hello", "て".repeat(50_000), Buffer.alloc(0), random, zeros]) {
      const heard = next(socket, "message");
      socket.send(data);
      const [back, binary] = await heard;
      assert.equal(binary, typeof data !== "string");
      assert.ok(Buffer.from(data).equals(back), `${data.length} of ${typeof data}`);
    }
  });

  test("fragments become one message, pings are answered between them", limit, async () => {
    const socket = await webSocket("/ws-echo", options, at());
    const heard = next(socket, "message");
    const pong = next(socket, "pong");
    socket.send("one ", { fin: false });
    socket.ping("p");
    for (let i = 0; i < 1_000; i += 1) socket.send("x", { fin: false });
    socket.send(" end", { fin: true });
    assert.equal((await pong)[0].toString(), "p");
    assert.equal((await heard)[0].toString(), `one ${"x".repeat(1_000)} end`);
  });

  test("a close is answered with its code", limit, async () => {
    const socket = await webSocket("/ws-echo", options, at());
    const closed = next(socket, "close");
    socket.close(1000, "bye");
    assert.equal((await closed)[0], 1000);
  });
}

describe("WebSocket echo", () => echo(() => server, false));

// At this path clients may agree on it whatever the option says.
describe("WebSocket echo, compressed", () => echo(() => server, true));

test("an upgrade that makes no sense is refused over HTTP", limit, async () => {
  for (const [path, status, code] of [
    ["/engine.io/?EIO=4&transport=websocket&sid=nobody", 400, 1],
    ["/engine.io/?EIO=3&transport=websocket", 400, 5],
    ["/engine.io/?EIO=4&transport=smoke", 400, 0],
  ]) {
    const socket = new WebSocket(server.ws + path, { headers: { origin: "http://a.example" } });
    open.add(socket);
    socket.on("error", () => {});
    const [, response] = await next(socket, "unexpected-response");
    assert.equal(response.statusCode, status, path);
    assert.equal(response.headers["access-control-allow-origin"], "*", path);
    const chunks = [];
    const whole = new Promise((done) => response.on("end", done));
    response.on("data", (chunk) => chunks.push(chunk));
    await within(whole, "the body of the refusal");
    assert.equal(JSON.parse(Buffer.concat(chunks).toString()).code, code, path);
  }
});
