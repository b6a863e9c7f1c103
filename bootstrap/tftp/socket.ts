// A bound UDP socket for numeric addresses, and its end.
import dgram from "node:dgram";
import { isIPv6 } from "node:net";

export async function bindUdp(address: string, port: number, onError: (error: Error) => void): Promise<dgram.Socket> {
  const family = isIPv6(address) ? 6 : 4;
  const socket = dgram.createSocket({
    type: `udp${family}`,
    // Every address here is numeric; the default would go through the resolver for each packet sent.
    lookup: (host, _options, done) => done(null, host, family),
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", (cause) => reject(new Error(`bind udp ${address} port ${port}`, { cause })));
    socket.bind({ address, port, exclusive: true }, resolve);
  });
  socket.removeAllListeners("error");
  socket.on("error", onError);
  return socket;
}

/** Closes after what was sent in this turn has left. */
export function closeSoon(socket: dgram.Socket): Promise<void> {
  return new Promise((resolve) => setImmediate(() => socket.close(() => resolve())));
}
