// A UDP proxy that loses packets by a seeded rule. Whether a packet is lost depends on its direction, its first four bytes
// and how often it came by, never on timing: the same seed loses the same packets in every run.
import dgram from "node:dgram";

export interface LossyProxy {
  port: number;
  dropped(): number;
  close(): Promise<void>;
}

export async function lossyProxy(options: { serverPort: number; seed: number; loss: number }): Promise<LossyProxy> {
  const { serverPort, seed, loss } = options;
  const front = dgram.createSocket("udp4");
  const back = dgram.createSocket("udp4"); // one client per proxy, so one port towards the server
  const seen = new Map<string, number>();
  let client: dgram.RemoteInfo | undefined;
  let transferPort = serverPort;
  let droppedCount = 0;

  function loses(direction: "up" | "down", message: Buffer): boolean {
    const what = `${direction} ${message.toString("hex", 0, 4)}`;
    const times = (seen.get(what) ?? 0) + 1;
    seen.set(what, times);
    const lost = chance(`${seed} ${what} ${times}`) < loss;
    if (lost) droppedCount++;
    return lost;
  }

  front.on("message", (message, from) => {
    client = from;
    if (!loses("up", message)) back.send(message, message[1] === 1 ? serverPort : transferPort, "127.0.0.1");
  });
  back.on("message", (message, from) => {
    transferPort = from.port;
    if (client !== undefined && !loses("down", message)) front.send(message, client.port, client.address);
  });
  await Promise.all(
    [front, back].map((socket) => new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve))),
  );
  return {
    port: front.address().port,
    dropped: () => droppedCount,
    close: async () => {
      await Promise.all([front, back].map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
    },
  };
}

/** FNV-1a with a final mix, as a number in [0, 1). */
function chance(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
