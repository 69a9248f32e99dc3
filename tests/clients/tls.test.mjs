// TLS as real clients speak it: the official client over wss and https, certificates of an
// authority of our own, a new certificate under traffic, and what is no TLS.

import assert from "node:assert/strict";
import { connect as connectPlain } from "node:net";
import { once } from "node:events";
import { connect as connectTls } from "node:tls";
import { after, before, describe, test } from "node:test";
import {
  ask, Client, collect, CONFORMANCE_FLAGS, eventually, metric, rest, startServer, terminate,
  TEST_MS, TRANSPORTS, upgraded, within,
} from "./lib.mjs";
import { Pki } from "./pki.mjs";

const limit = { timeout: TEST_MS };

/** The serial number of the certificate that a server shows. */
async function shown(server, ca) {
  const { hostname, port } = new URL(server.tls);
  const socket = connectTls({ host: hostname, port, ca });
  try {
    await within(once(socket, "secureConnect"), "a handshake");
    return Number(`0x${socket.getPeerCertificate().serialNumber}`);
  } finally {
    socket.destroy();
  }
}

describe("the official client over TLS", () => {
  const pki = new Pki();
  let server;
  before(async () => {
    server = await startServer("conformance", [...CONFORMANCE_FLAGS, ...pki.flags()]);
  });
  after(() => server.stop());
  after(() => pki.remove());

  for (const generation of ["sio4", "sio3"]) {
    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      test(`${generation}, ${name}`, limit, async () => {
        const client = new Client(generation, server.tls, { ca: pki.ca, ...transports });
        try {
          const socket = await client.connect();
          if (name === "polling then upgrade") await upgraded(socket);
          const [facts] = await ask(socket, "whoami");
          assert.equal(facts.secure, true);
          assert.equal(facts.transport, name === "polling only" ? "polling" : "websocket");
          const [echo] = await ask(socket, "message-with-ack", "x".repeat(100_000));
          assert.equal(echo.length, 100_000);
          const parts = collect(socket, "seq", 200);
          socket.emit("burst", 200, 1_000);
          const got = await parts;
          assert.deepEqual(got.map(([at]) => at), [...Array(200).keys()]);
          const bytes = Buffer.from([0, 1, 2, 255]);
          const [back] = await ask(socket, "message-with-ack", bytes);
          assert.deepEqual(Buffer.from(back), bytes);
        } finally {
          client.closeAll();
        }
      });
    }
  }

  test("clients with TLS and without meet in a room", limit, async () => {
    const tls = new Client("sio4", server.tls, { ca: pki.ca, transports: ["websocket"] });
    const plain = new Client("sio4", server.url, { transports: ["websocket"] });
    try {
      const [one, other] = [await tls.connect(), await plain.connect()];
      assert.equal((await ask(other, "whoami"))[0].secure, false);
      for (const socket of [one, other]) await ask(socket, "join", "both");
      const heard = collect(other, "hello", 1);
      await ask(one, "room-emit", "both", "hello", 1);
      assert.deepEqual(await heard, [[1]]);
    } finally {
      tls.closeAll();
      plain.closeAll();
    }
  });

  test("a certificate of somebody else's authority is not trusted", limit, async () => {
    const client = new Client("sio4", server.tls, { transports: ["websocket"] });
    try {
      const socket = client.socket();
      const refused = once(socket, "connect_error");
      socket.connect();
      const [error] = await within(refused, "a refusal");
      assert.match(String(error.description?.message ?? error.message), /certificate|websocket/);
    } finally {
      client.closeAll();
    }
  });

  test("plain HTTP at the port is told that it speaks TLS", limit, async () => {
    const { hostname, port } = new URL(server.tls);
    const socket = connectPlain(Number(port), hostname);
    socket.setEncoding("utf8");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = "";
    socket.on("data", (part) => { text += part; });
    await within(once(socket, "end"), "the end");
    assert.match(text, /^HTTP\/1\.1 400 Bad Request\r\n[^]*This port speaks TLS/);
    const failed = await metric(server, "corewire_tls_failures_total");
    assert.ok(failed >= 1);
  });
});

describe("a new certificate", () => {
  test("is taken by time and by SIGHUP, and no connection notices", limit, async () => {
    const pki = new Pki();
    const flags = [...CONFORMANCE_FLAGS, ...pki.flags("--tls-watch", "200")];
    const server = await startServer("conformance", flags);
    const client = new Client("sio4", server.tls, { ca: pki.ca, transports: ["websocket"] });
    const polling = new Client("sio4", server.tls, { ca: pki.ca, transports: ["polling"] });
    try {
      assert.equal(await shown(server, pki.ca), 1);
      const sockets = [await client.connect(), await polling.connect()];
      const gone = [];
      for (const socket of sockets) socket.on("disconnect", (why) => gone.push(why));
      let asked = 0;
      let done = false;
      const traffic = (async () => {
        while (!done) {
          for (const socket of sockets) await ask(socket, "message-with-ack", asked);
          asked += 1;
        }
      })();
      pki.issue(2);
      await eventually("the second one is shown", async () => (await shown(server, pki.ca)) === 2);
      pki.spoil();
      await eventually("a bad one is counted", async () =>
        (await metric(server, "corewire_tls_reload_failures_total")) >= 1);
      assert.equal(await shown(server, pki.ca), 2, "the one before is kept");
      assert.ok(server.log.some((line) => /certificate refused/.test(line)));
      const { body } = await rest(server.admin, "GET", "/socket/health");
      assert.match(body.data.certificate.problem, /tls_cert_file/);
      pki.issue(3);
      server.child.kill("SIGHUP");
      await eventually("the third one is shown", async () => (await shown(server, pki.ca)) === 3);
      done = true;
      await traffic;
      assert.ok(asked > 0);
      assert.deepEqual(gone, []);
    } finally {
      client.closeAll();
      polling.closeAll();
      await terminate(server);
      pki.remove();
    }
  });

  test("that ends soon is warned of", limit, async () => {
    const pki = new Pki();
    const server = await startServer("corewire", pki.flags());
    try {
      await eventually("the warning is logged", async () =>
        server.log.some((line) => /warning=.*ends in [012] days/.test(line)));
      const { body } = await rest(server.admin, "GET", "/socket/health");
      assert.match(body.data.certificate.problem, /ends in [012] days/);
      assert.match(body.data.certificate.endsAt, /^20\d\d-/);
      const ends = await metric(server, "corewire_tls_certificate_ends_seconds");
      assert.ok(Math.abs(ends - Date.now() / 1_000 - 2 * 86_400) < 3_600);
    } finally {
      await server.stop();
      pki.remove();
    }
  });
});
