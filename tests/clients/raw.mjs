// Raw clients that cost next to nothing: for crowds.

import { connect } from "node:net";

/** A WebSocket that joins `/` and then only holds on; `joined` says whether it may. */
export function raw(url, { packet = "40" } = {}) {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port, noDelay: true });
  const frame = Buffer.concat([Buffer.from([0x81, 0x80 | packet.length, 0, 0, 0, 0]), Buffer.from(packet)]);
  const head = `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: ${hostname}\r\n` +
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  let heard = "";
  const joined = new Promise((done, refused) => {
    socket.on("connect", () => socket.write(head));
    socket.on("error", refused);
    socket.on("close", () => refused(new Error(`closed after ${heard}`)));
    socket.on("data", (chunk) => {
      if (heard === undefined) return;
      const before = heard;
      heard += chunk.toString("latin1");
      if (!before.includes('0{"sid"') && heard.includes('0{"sid"')) socket.write(frame);
      if (!/40\{"sid"/.test(heard)) return;
      heard = undefined;
      done(socket);
    });
  });
  joined.catch(() => {});
  return { socket, joined };
}
