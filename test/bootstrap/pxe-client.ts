// A network boot client in Node: speaks DHCP from port 68 for one card or for a thousand made-up ones, fetches over TFTP and
// HTTP what it is told to. It takes its answers from the wire with the product's packet reader, and decides by itself.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { Agent, request as httpRequest } from "node:http";
import * as option from "../../bootstrap/dhcp/options.ts";
import { MESSAGE, OPTION } from "../../bootstrap/dhcp/options.ts";
import { macOf, type Packet, parsePacket } from "../../bootstrap/dhcp/packet.ts";
import { bytes } from "./dhcp/packets.ts";

export interface DhcpClient {
  /** Sends and resolves with the first answer of this type to this xid; repeats after 2, 4 and 8 s as firmware does. */
  ask(
    packet: Packet,
    want: number,
  ): Promise<{ packet: Packet; from: { address: string; port: number }; ms: number; tries: number }>;
  /** Resolves once it has left. */
  send(packet: Packet | Buffer, port?: number, address?: string): Promise<void>;
  close(): void;
}

export async function dhcpClient({ port = 68 } = {}): Promise<DhcpClient> {
  const socket: Socket = createSocket({ type: "udp4", reuseAddr: true, recvBufferSize: 8 << 20 });
  socket.bind(port, "0.0.0.0");
  await once(socket, "listening");
  socket.setBroadcast(true);
  const waiting = new Map<string, (packet: Packet, from: { address: string; port: number }) => void>();
  socket.on("message", (raw, from) => {
    const parsed = parsePacket(raw);
    if (!parsed.ok) return;
    waiting.get(`${parsed.packet.xid} ${option.messageType(parsed.packet.options)}`)?.(parsed.packet, from);
  });
  const send = (packet: Packet | Buffer, to = 67, address = "255.255.255.255") => {
    return new Promise<void>((resolve) => {
      socket.send(Buffer.isBuffer(packet) ? packet : bytes(packet), to, address, () => resolve());
    });
  };
  return {
    send,
    ask(packet, want) {
      const startedAt = performance.now();
      return new Promise((resolve, reject) => {
        const key = `${packet.xid} ${want}`;
        let tries = 0;
        let timer: NodeJS.Timeout | undefined;
        const attempt = () => {
          if (++tries > 4) {
            waiting.delete(key);
            reject(new Error(`no answer of type ${want} for ${macOf(packet)}`));
            return;
          }
          void send(packet, 67, "255.255.255.255");
          timer = setTimeout(attempt, 1_000 * 2 ** tries);
        };
        waiting.set(key, (answer, from) => {
          clearTimeout(timer);
          waiting.delete(key);
          resolve({ packet: answer, from, ms: performance.now() - startedAt, tries });
        });
        attempt();
      });
    },
    close: () => socket.close(),
  };
}

export interface HttpAnswer {
  status: number;
  body: Buffer;
}

export function httpClient({ maxSockets = 200 } = {}) {
  const agent = new Agent({ keepAlive: true, maxSockets });
  const fetchUrl = (
    url: string,
    { method = "GET", body }: { method?: string; body?: string } = {},
  ): Promise<HttpAnswer> =>
    new Promise((resolve, reject) => {
      const sent = httpRequest(url, { method, agent, timeout: 30_000 }, (reply) => {
        const chunks: Buffer[] = [];
        reply.on("data", (chunk: Buffer) => chunks.push(chunk));
        reply.on("end", () => resolve({ status: reply.statusCode!, body: Buffer.concat(chunks) }));
        reply.on("error", reject);
      });
      sent.on("timeout", () => sent.destroy(new Error(`${url} timed out`)));
      sent.on("error", reject);
      sent.end(body);
    });
  return { fetch: fetchUrl, close: () => agent.destroy() };
}

/** What iPXE makes of the script's URL: it fills in what it knows. */
export function expand(url: string, settings: Record<string, string>): string {
  return url.replace(/\$\{([a-z]+)(:uristring)?\}/g, (_, name: string) => encodeURIComponent(settings[name] ?? ""));
}

export function bootfileOf(packet: Packet): string {
  return option.text(packet.options, OPTION.bootfile) ?? packet.file;
}

export { MESSAGE };
