// Listens where it is told, `tcp:ADDRESS:PORT` or `udp:ADDRESS:PORT`, and gives back what it gets: somebody who would answer, were they asked.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import process from "node:process";

for (const place of process.argv.slice(2)) {
  const [, protocol, address = "", port = ""] = /^(tcp|udp):(.*):(\d+)$/.exec(place) ?? [];
  if (protocol === "udp") {
    const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
    socket.on("message", (text, { port: from, address: to }) => socket.send(text, from, to));
    socket.bind(Number(port), address);
    await once(socket, "listening");
  } else {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.pipe(socket);
    });
    server.listen(Number(port), address);
    await once(server, "listening");
  }
}
console.log("listening");
