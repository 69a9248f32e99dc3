// A bad network: a TCP proxy between clients and a server that delays, holds, cuts, resets, and
// falls silent. Bytes that TCP carries arrive whole and in order or not at all, so what a network
// loses is seen at this height as bytes that come late (`hold`) or as an end (`reset`, `silence`).

import { createServer, connect } from "node:net";
import { once } from "node:events";
import { opening } from "./lib.mjs";

/** Starts it in front of `server`. Faults may be changed at any time, and then hold for all. */
export async function network(server) {
  const target = new URL(server.url);
  const pairs = new Set();
  const faults = { delayMs: 0, pieceBytes: Infinity, held: false, silent: false };
  const waiting = [];

  /** Forwards a chunk as the faults of the moment have it; keeps the order of each direction. */
  const forward = (from, to) => {
    let line = Promise.resolve();
    from.on("data", (chunk) => {
      if (faults.silent) return;
      const late = faults.delayMs * Math.random();
      line = line.then(async () => {
        if (faults.held) await new Promise((go) => waiting.push(go));
        if (late > 0) await new Promise((go) => setTimeout(go, late));
        for (let at = 0; at < chunk.length; at += faults.pieceBytes) {
          if (to.destroyed || faults.silent) return;
          const piece = chunk.subarray(at, Math.min(at + faults.pieceBytes, chunk.length));
          if (!to.write(piece)) await Promise.race([once(to, "drain"), once(to, "close")]);
        }
      }).catch(() => {});
    });
    from.on("end", () => line.then(() => faults.silent || to.end()));
  };

  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({ host: target.hostname, port: target.port, noDelay: true,
      allowHalfOpen: true });
    const pair = { client, upstream, bytes: 0 };
    pairs.add(pair);
    upstream.on("data", (chunk) => {
      pair.bytes += chunk.length;
      // In the middle of whatever that was.
      if (faults.resetAfterBytes !== undefined && pair.bytes >= faults.resetAfterBytes) reset(pair);
    });
    forward(client, upstream);
    forward(upstream, client);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      // An error is followed by a close.
      one.on("error", () => {});
      one.on("close", () => {
        if (!faults.silent) other.destroy();
        if (client.destroyed && upstream.destroyed) pairs.delete(pair);
      });
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");

  function reset({ client, upstream }) {
    client.resetAndDestroy();
    upstream.resetAndDestroy();
  }

  const url = `http://127.0.0.1:${listener.address().port}`;
  const close = () => {
    closed();
    faults.silent = false;
    pairs.forEach(reset);
    listener.close();
  };
  const closed = opening(close);
  return {
    url,
    faults,
    /** How many connections go through it now. */
    open: () => pairs.size,
    /** Bytes stay here until `release`. */
    hold: () => { faults.held = true; },
    release: () => {
      faults.held = false;
      waiting.splice(0).forEach((go) => go());
    },
    /** Ends every connection with a reset, to both sides. */
    reset: () => pairs.forEach(reset),
    /** From now on nothing passes and nobody is told of an end: connections are half-open. */
    silence: () => { faults.silent = true; },
    close,
  };
}
