// A chat over WebSocket (RFC 6455) without packages: what one says, all hear. GET / answers "Hello from chat, N here".
const { createHash } = require("node:crypto");
const { createServer } = require("node:http");

const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MOST_BYTES = 64 * 1024;
const here = new Set();

const server = createServer((_request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(`Hello from chat, ${here.size} here\n`);
});

server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"];
  if (!key || String(request.headers.upgrade).toLowerCase() !== "websocket")
    return socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  const accept = createHash("sha1")
    .update(key + MAGIC)
    .digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  here.add(socket);
  let rest = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      const found = readFrame(rest);
      if (found === undefined) return rest.length > MOST_BYTES * 2 ? socket.destroy() : undefined;
      rest = rest.subarray(found.size);
      if (found.opcode === 8) return socket.end(frame(8, found.payload));
      if (found.opcode === 9) socket.write(frame(10, found.payload));
      if (found.opcode === 1) for (const each of here) each.write(frame(1, found.payload));
    }
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => here.delete(socket));
});

/** One masked frame of a client, or undefined when it is not whole yet. */
function readFrame(bytes) {
  if (bytes.length < 6) return undefined;
  let length = bytes[1] & 0x7f;
  let at = 2;
  if (length === 126) {
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) return undefined;
  const size = at + 4 + length;
  if (bytes.length < size) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, size).map((byte, n) => byte ^ mask[n % 4]));
  return { opcode: bytes[0] & 0x0f, payload, size };
}

function frame(opcode, payload) {
  const head =
    payload.length < 126
      ? Buffer.from([0x80 | opcode, payload.length])
      : Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([head, payload]);
}

server.listen(Number(process.env.PORT), () => console.log(`listening on ${process.env.PORT}`));
process.on("SIGTERM", () => {
  for (const each of here) each.end(frame(8, Buffer.from([0x03, 0xe9]))); // 1001: going away
  server.close(() => process.exit(0));
});
