// Many machines switched on at once, from one process: `stampede.ts COUNT SERVER SPREAD_MS`. Each goes DISCOVER, OFFER, REQUEST, ACK,
// script as iPXE does, re-sending as firmware does. Prints `stampede {...}` with milliseconds from the common start.
import { run } from "#lib/run.ts";
import { sleep } from "#lib/time.ts";
import { ipxe } from "./dhcp/packets.ts";
import { bootfileOf, dhcpClient, expand, httpClient, MESSAGE } from "./pxe-client.ts";

export interface Stampede {
  machines: number;
  offerP50Ms: number;
  offerP99Ms: number;
  offerMaxMs: number;
  lastAckMs: number;
  lastScriptMs: number;
  /** Given a script that waits until others have loaded their images. */
  waiting: number;
  resent: number;
  scripts: number;
  addresses: number;
}

export const stampedeMac = (n: number): string =>
  `52:54:01:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;

if (import.meta.main) {
  run(async () => {
    const count = Number(process.argv[2]);
    const server = process.argv[3]!;
    const spreadMs = Number(process.argv[4] ?? 0);
    const dhcp = await dhcpClient();
    const http = httpClient({ maxSockets: 200 });
    const offers: number[] = [];
    const addresses = new Set<string>();
    let resent = 0;
    let scripts = 0;
    let waiting = 0;
    let lastAckMs = 0;
    let lastScriptMs = 0;
    const startedAt = performance.now();
    const boot = async (n: number) => {
      const mac = stampedeMac(n);
      if (spreadMs > 0) await sleep((n / count) * spreadMs);
      const offer = await dhcp.ask(ipxe({ mac, xid: n + 1 }), MESSAGE.offer);
      offers.push(offer.ms);
      const ack = await dhcp.ask(
        ipxe({ mac, xid: n + 1, type: MESSAGE.request, wish: offer.packet.yiaddr, server }),
        MESSAGE.ack,
      );
      resent += offer.tries + ack.tries - 2;
      addresses.add(ack.packet.yiaddr);
      lastAckMs = performance.now() - startedAt;
      const { body } = await http.fetch(expand(bootfileOf(ack.packet), { buildarch: "x86_64", platform: "pcbios" }));
      if (body.includes("ds=nocloud-net")) scripts++;
      else if (body.includes("waits for its turn")) waiting++;
      lastScriptMs = performance.now() - startedAt;
    };
    await Promise.all(Array.from({ length: count }, (_, n) => boot(n)));
    offers.sort((a, b) => a - b);
    const at = (share: number) => offers[Math.min(offers.length - 1, Math.floor(offers.length * share))]!;
    const result: Stampede = {
      machines: count,
      offerP50Ms: at(0.5),
      offerP99Ms: at(0.99),
      offerMaxMs: offers.at(-1)!,
      lastAckMs,
      lastScriptMs,
      resent,
      scripts,
      waiting,
      addresses: addresses.size,
    };
    console.log(`stampede ${JSON.stringify(result)}`);
    http.close();
    dhcp.close();
    return 0;
  });
}
