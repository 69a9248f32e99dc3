// Compression as real clients do it: the official client over a WebSocket that compresses, in two
// generations and with msgpack, polls of the official client and of fetch, and a browser.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import msgpack from "socket.io-msgpack-parser";
import { WebSocket } from "ws";
import {
  ask, Client, CONFORMANCE_FLAGS, eventually, metric, next, plain, startServer, TEST_MS,
} from "./lib.mjs";

const limit = { timeout: TEST_MS };
let server;
const clients = [];

before(async () => {
  server = await startServer("conformance", [...CONFORMANCE_FLAGS, "--deflate", "--eio3"]);
});
afterEach(() => clients.splice(0).forEach((client) => client.closeAll()));
after(() => server.stop());

function client(generation, options = {}) {
  const made = new Client(generation, server.url, {
    transports: ["websocket"], perMessageDeflate: { threshold: 0 }, ...options,
  });
  clients.push(made);
  return made;
}

const row = (i) => ({ id: i, name: `user ${i % 97}`, text: "a longish text, ".repeat(i % 5), ok: i % 2 === 0 });
const rows = Array.from({ length: 300 }, (_, i) => row(i));
const bytes = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i >> 5) & 0xff));

for (const [name, generation, options] of [
  ["the official client", "sio4"],
  ["with msgpack", "sio4", { parser: msgpack }],
  ["the second generation", "sio2"],
  ["after an upgrade from polling", "sio4", { transports: ["polling", "websocket"] }],
]) {
  test(`${name}: text, binary, long and short, both ways`, limit, async () => {
    const socket = await client(generation, options).connect();
    const engine = socket.io.engine;
    if (engine.transport.name !== "websocket") await next(engine, "upgrade");
    assert.match(engine.transport.ws.extensions, /^permessage-deflate/);
    const before = await metric(server, "corewire_inflated_total");
    for (const args of [[1], ["é"], [rows], [bytes], ["x", bytes, rows, Buffer.alloc(3)]]) {
      const [, back] = await Promise.all([
        socket.emit("message", ...args), next(socket, "message-back"),
      ]);
      assert.deepEqual(plain(back), plain(args));
      assert.deepEqual(plain(await ask(socket, "message-with-ack", ...args)), plain(args));
    }
    await eventually("what came compressed is counted", async () =>
      (await metric(server, "corewire_inflated_total")) >= before + 10);
  });
}

test("one broadcast reaches clients of every kind, compressed once a form and core", limit, async () => {
  const kinds = [
    client("sio4"), client("sio4"), client("sio4", { parser: msgpack }), client("sio2"),
    client("sio4", { perMessageDeflate: false }), client("sio4", { transports: ["polling"] }),
  ];
  const sockets = await Promise.all(kinds.map((kind) => kind.connect()));
  const sender = await client("sio4", { perMessageDeflate: false }).connect();
  const before = await metric(server, "corewire_deflated_total");
  const heard = sockets.map((socket) => next(socket, "news"));
  await ask(sender, "broadcast", "news", rows);
  for (const args of await Promise.all(heard)) assert.deepEqual(args, [rows]);
  const deflated = await eventually("it is counted", async () => {
    const now = (await metric(server, "corewire_deflated_total")) - before;
    return now >= 2 && now;
  });
  // The common form and msgpack, on each core; a poll more, if that client asks for gzip.
  const cores = Number(process.env.WORKERS ?? "1");
  assert.ok(deflated <= 3 * cores, `${deflated} times`);
});

test("thousands of messages in a row", limit, async () => {
  const socket = await client("sio4").connect();
  let expected = 0;
  const done = new Promise((resolve, reject) => {
    socket.on("seq", (index, pad) => {
      if (index !== expected || pad.length !== 1_500) reject(new Error(`${index}: ${pad.length}`));
      expected += 1;
      if (expected === 5_000) resolve();
    });
  });
  socket.emit("burst", 5_000, 1_500);
  await done;
});

describe("polls", () => {
  test("what fetch asks for is compressed, and says the same", limit, async () => {
    const url = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const { sid } = JSON.parse((await (await fetch(url)).text()).slice(1));
    const post = (body) => fetch(`${url}&sid=${sid}`, { method: "POST", body });
    await post("40");
    await (await fetch(`${url}&sid=${sid}`)).text();
    await post(`42${JSON.stringify(["message", rows])}`);
    const answer = await fetch(`${url}&sid=${sid}`);
    assert.equal(answer.headers.get("content-encoding"), "gzip");
    assert.match(answer.headers.get("vary"), /accept-encoding/i);
    const packets = (await answer.text()).split("\x1e");
    assert.ok(packets.includes(`42${JSON.stringify(["message-back", rows])}`));
  });

  test("the official client", limit, async () => {
    const socket = await client("sio4", {
      transports: ["polling"], extraHeaders: { "Accept-Encoding": "identity" },
    }).connect();
    assert.deepEqual(await ask(socket, "message-with-ack", rows), [rows]);
  });
});

test("a bomb ends its sender and nobody else", limit, async () => {
  const other = await client("sio4").connect();
  const socket = new WebSocket(`${server.ws}/socket.io/?EIO=4&transport=websocket`);
  await next(socket, "message");
  const closed = next(socket, "close");
  socket.send(Buffer.alloc(50 << 20, "4"), { binary: false, compress: true });
  assert.equal((await closed)[0], 1009);
  assert.deepEqual(await ask(other, "message-with-ack", 1), [1]);
});
