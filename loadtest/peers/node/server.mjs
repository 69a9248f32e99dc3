// The bench contract on socket.io with Node's http and ws, as its documentation sets it up.
//
//   NODE_ENV=production node server.mjs [--listen 127.0.0.1:0]
//
// Prints `listening on ADDRESS:PORT`. Each connection: `join` (room) is acknowledged, `echo` (x) is
// acknowledged with x, `pub` ({room, ...}) goes as `msg` to the room. `POST /pub` does what `pub` does.
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

const { values } = parseArgs({ options: { listen: { type: "string", default: "127.0.0.1:0" } } });
const colon = values.listen.lastIndexOf(":");
const host = values.listen.slice(0, colon);
const port = Number(values.listen.slice(colon + 1));

const http = createServer((request, response) => {
  if (request.method !== "POST" || request.url !== "/pub") {
    response.writeHead(404).end();
    return;
  }
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    try {
      const message = JSON.parse(Buffer.concat(parts).toString());
      io.to(message.room).emit("msg", message);
      response.writeHead(200, { "Content-Type": "application/json" }).end('{"success":true}');
    } catch {
      response.writeHead(400).end();
    }
  });
});

// No compression and no polling: the peers are compared over WebSocket from the start.
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
});

io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack?.();
  });
  socket.on("echo", (x, ack) => ack?.(x));
  socket.on("pub", (message, ack) => {
    io.to(message.room).emit("msg", message);
    ack?.();
  });
});

// Storms of connections must wait in the kernel, not be refused.
http.listen({ host, port, backlog: 4096 }, () => {
  const { address, port: chosen } = http.address();
  console.log(`listening on ${address}:${chosen}`);
});
