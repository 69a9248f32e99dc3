// A browser: the page comes from one origin, the client script and the connection from the
// server's. Chromium of the system, without a window.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { launch } from "./chromium.mjs";
import { eventually, rest, startServer, TEST_MS, TRANSPORTS, within } from "./lib.mjs";

const limit = { timeout: 2 * TEST_MS };

describe("in a browser", () => {
  let site;
  let origin;
  let server;
  let browser;
  before(async () => {
    site = createServer((request, response) => {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      response.end("<!doctype html><title>page</title><link rel=icon href=data:,>");
    });
    await within(new Promise((done) => site.listen(0, "127.0.0.1", done)), "the page's server");
    origin = `http://127.0.0.1:${site.address().port}`;
    server = await startServer("corewire", ["--cors-origin", origin]);
    browser = await launch();
  });
  after(() => browser?.close());
  after(() => server?.stop());
  after(() => site.close());

  /** A page with one connected socket in `window.socket` and what it heard in `window.heard`. */
  async function page(auth, options, at = origin) {
    const tab = await browser.newPage();
    tab.setDefaultTimeout(TEST_MS);
    await tab.goto(at);
    await tab.addScriptTag({ url: `${server.url}/socket.io/socket.io.js` });
    const open = ({ url, auth, options }) =>
      new Promise((done, fail) => {
        window.heard = [];
        window.socket = window.io(url, { auth, reconnection: false, ...options });
        window.socket.onAny((...event) => window.heard.push(event));
        window.socket.on("connect", done);
        window.socket.on("connect_error", (error) => fail(new Error(error.message)));
      });
    await tab.evaluate(open, { url: server.url, auth, options });
    return tab;
  }

  for (const [transport, options] of Object.entries(TRANSPORTS)) {
    test(`${transport}: asks, is heard by its twin, is notified by REST`, limit, async () => {
      const auth = { userId: `web ${transport}`, sessionId: "s1" };
      const [one, two] = await Promise.all([page(auth, options), page(auth, options)]);
      const upgraded = () => window.socket.io.engine.transport.name === "websocket";
      if (options.transports.length === 2) {
        await Promise.all([one, two].map((tab) => tab.waitForFunction(upgraded)));
      } else {
        const name = await one.evaluate(() => window.socket.io.engine.transport.name);
        assert.equal(name, options.transports[0]);
      }

      const request = { toolId: "t", message: "ж 👩‍🚀", requestId: "r1", sessionId: "s1" };
      const answer = await one.evaluate(
        (request) => window.socket.timeout(5_000).emitWithAck("ai_request", request), request,
      );
      assert.deepEqual(answer, { success: true, status: "relayed", requestId: "r1" });
      const relayed = ["ai_request", { ...request, userId: auth.userId }];
      await two.waitForFunction(() => window.heard.length > 0);
      assert.deepEqual(await two.evaluate(() => window.heard), [relayed]);

      const note = { userId: auth.userId, type: "info", title: "t", message: "m", data: [1] };
      const sent = await rest(server.admin, "POST", "/socket/notifications", note);
      assert.equal(sent.body.data.recipients, 2);
      await one.waitForFunction(() => window.heard.length > 0);
      assert.deepEqual(await one.evaluate(() => window.heard), [["notification", note]]);
      await Promise.all([one.close(), two.close()]);
      const path = `/socket/users/${encodeURIComponent(auth.userId)}/connected`;
      await eventually("closed pages are gone", async () => {
        return (await rest(server.admin, "GET", path)).body.data.sockets === 0;
      });
    });
  }

  test("a page from an origin that is not allowed cannot poll", limit, async () => {
    const elsewhere = origin.replace("127.0.0.1", "localhost");
    const options = TRANSPORTS["polling only"];
    await assert.rejects(page({ userId: "web" }, options, elsewhere), /xhr poll error/);
  });
});
