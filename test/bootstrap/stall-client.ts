// A machine that stops somewhere in its network boot, run inside its namespace: `stall-client.ts STALL MAC SERVER`. What it does is what
// firmware, iPXE, an initrd or an agent would have done until then.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { get } from "node:http";
import { run } from "#lib/run.ts";
import { bios, ipxe, os, type RequestOptions } from "./dhcp/packets.ts";
import { bootfileOf, dhcpClient, expand, httpClient, MESSAGE } from "./pxe-client.ts";
import { download } from "./tftp/client.ts";

run(async () => {
  const [stall, mac, server] = process.argv.slice(2) as [string, string, string];
  const dhcp = await dhcpClient();
  const http = httpClient();
  let xid = 1;
  const offered = async (make: typeof bios, more: RequestOptions = {}) =>
    (await dhcp.ask(make({ mac, xid: ++xid, ...more }), MESSAGE.offer)).packet;
  const taken = async (make: typeof bios) => {
    const { yiaddr: wish } = await offered(make);
    return (await dhcp.ask(make({ mac, xid: ++xid, type: MESSAGE.request, wish, server }), MESSAGE.ack)).packet;
  };
  const script = async () => {
    const url = bootfileOf(await taken(ipxe));
    const settings = {
      uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
      serial: "A1",
      buildarch: "i386",
      platform: "pcbios",
    };
    return (await http.fetch(expand(url, settings))).body.toString();
  };
  const token = (text: string) => /\/e\/([^/]+)\/ipxe/.exec(text)![1]!;
  const tell = async (what: string, body: string) =>
    void (await http.fetch(`http://${server}:7780/e/${token(await script())}/${what}`, { method: "POST", body }));
  /** A read request, then `answer` to each packet of the server until it returns false. */
  const tftp = async (name: string, answer: (packet: Buffer) => Buffer | undefined) => {
    const socket = createSocket("udp4");
    socket.bind(0);
    await once(socket, "listening");
    socket.send(Buffer.from(`\0\x01${name}\0octet\0`), 69, server);
    const [packet, from] = (await once(socket, "message")) as [Buffer, { port: number; address: string }];
    const reply = answer(packet);
    if (reply) await new Promise((resolve) => socket.send(reply, from.port, from.address, resolve));
    socket.close();
  };

  const STALLS: Record<string, () => Promise<unknown>> = {
    "offer-left": () => offered(bios),
    "tftp-never-begun": () => taken(bios),
    "wrong-network": () => dhcp.ask(bios({ mac, xid: 9, type: MESSAGE.request, wish: "10.99.0.5" }), MESSAGE.nak),
    async "no-boot-file"() {
      await dhcp.send(bios({ mac, xid: 9, archs: [33], vendorClass: "PXEClient:Arch:00033:UNDI:003001" }));
    },
    async declined() {
      const { yiaddr: wish } = await taken(bios);
      await dhcp.send(bios({ mac, xid: 9, type: MESSAGE.decline, wish, server }));
    },
    async "tftp-unknown-file"() {
      await taken(bios);
      await tftp("pxelinux.0", () => undefined);
    },
    async "tftp-broken-off"() {
      await taken(bios);
      await tftp("undionly.kpxe", () => Buffer.from("\0\x05\0\x03disk full\0"));
    },
    async "ipxe-no-link"() {
      await download({ address: server, port: 69, name: bootfileOf(await taken(bios)), blksize: 1432 });
    },
    "ipxe-no-script": () => taken(ipxe),
    "script-not-run": script,
    async "script-no-kernel"() {
      await http.fetch(`http://${server}:7780/e/${token(await script())}/ipxe`);
    },
    async "ipxe-failed"() {
      await http.fetch(`http://${server}:7780/e/${token(await script())}/fail`);
    },
    async "squashfs-half"() {
      const url = /fetch=(\S+root\.squashfs)/.exec(await script())![1]!;
      await new Promise<void>((resolve, reject) => {
        const asked = get(url, (reply) => {
          reply.once("data", () => {
            reply.pause();
            asked.destroy();
            resolve();
          });
        }).on("error", reject);
      });
    },
    "initrd-memory": () => tell("refused", "memory this image needs 1024 MiB of memory, the machine has 489 MiB"),
    "initrd-no-port": () => tell("refused", "network no network port was found: no driver for it in this image"),
    "initrd-hash": () => tell("refused", "image the root image is not the one this initrd belongs to (sha256 00)"),
    "agent-clock": () => tell("trouble", "clock certificate is not yet valid"),
    async "token-superseded"() {
      const old = token(await script());
      await script();
      await http.fetch(`http://${server}:7780/s/${old}/user-data`);
    },
    async "seed-silent"() {
      const seed = `http://${server}:7780/s/${token(await script())}`;
      await taken(os);
      for (const file of ["meta-data", "user-data"]) await http.fetch(`${seed}/${file}`);
    },
  };
  await STALLS[stall]!();
  http.close();
  dhcp.close();
  return 0;
});
