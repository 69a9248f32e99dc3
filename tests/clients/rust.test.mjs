// The Rust client library against the conformance application; the checks are in rust/.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { BINARIES, CONFORMANCE_FLAGS, startServer, TEST_MS } from "./lib.mjs";

let server;
before(async () => {
  server = await startServer("conformance", CONFORMANCE_FLAGS);
});
after(() => server.stop());

test("rust_socketio over each of its transports", { timeout: 3 * TEST_MS }, async (context) => {
  const child = spawn(BINARIES.rust, [server.url], {
    stdio: ["ignore", "pipe", "pipe"], signal: context.signal,
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said += data));
  const [code] = await once(child, "close");
  assert.equal(code, 0, said);
  assert.equal(said.match(/^ok /gm).length, 20, said);
});
