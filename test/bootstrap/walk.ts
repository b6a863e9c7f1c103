// One machine's whole network boot, run inside its namespace: `walk.ts MAC SERVER [replay]`. Prints what it saw as JSON.
import { createHash } from "node:crypto";
import { parse } from "yaml";
import { run } from "#lib/run.ts";
import { addressBytes, OPTION } from "../../bootstrap/dhcp/options.ts";
import { bios, ipxe, os } from "./dhcp/packets.ts";
import { bootfileOf, dhcpClient, expand, httpClient, MESSAGE } from "./pxe-client.ts";
import { download } from "./tftp/client.ts";

export interface Walk {
  addresses: string[];
  firmwareFile: string;
  tftpBytes: number;
  scriptUrl: string;
  waited: boolean;
  artefacts: Record<string, string>;
  seed: Record<string, unknown>;
  statuses: Record<string, number>;
}

run(async () => {
  const [mac, server] = process.argv.slice(2) as [string, string];
  const dhcp = await dhcpClient();
  const http = httpClient();
  const addresses: string[] = [];
  const boot = async (make: typeof bios, xid: number) => {
    const offer = await dhcp.ask(make({ mac, xid }), MESSAGE.offer);
    const wish = offer.packet.yiaddr;
    const ack = await dhcp.ask(make({ mac, xid, type: MESSAGE.request, wish, server }), MESSAGE.ack);
    addresses.push(ack.packet.yiaddr);
    return ack.packet;
  };
  const firmwareFile = bootfileOf(await boot(bios, 1));
  const tftp = await download({ address: server, port: 69, name: firmwareFile, blksize: 1432 });
  const scriptUrl = bootfileOf(await boot(ipxe, 2));
  const script = (
    await http.fetch(
      expand(scriptUrl, {
        uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        serial: "A 1",
        buildarch: "i386",
        platform: "pcbios",
      }),
    )
  ).body.toString();
  const result: Walk = {
    addresses,
    firmwareFile,
    tftpBytes: tftp.bytes,
    scriptUrl,
    waited: script.includes("waits for approval"),
    artefacts: {},
    seed: {},
    statuses: {},
  };
  if (!result.waited) {
    const beacon = /imgfetch --name beacon (\S+ipxe)/.exec(script)![1]!;
    const seedUrl = / ds=nocloud-net;s=(\S+)/.exec(script)![1]!;
    result.statuses["beacon"] = (await http.fetch(beacon)).status;
    for (const [url, name] of script.matchAll(/http:\S+\/a\/sha256-[0-9a-f]+\/(\S+)/g)) {
      result.artefacts[name!] = createHash("sha256")
        .update((await http.fetch(url)).body)
        .digest("hex");
    }
    await boot(os, 3);
    const get = async (file: string) => {
      const { status, body } = await http.fetch(`${seedUrl}${file}`);
      result.statuses[file] = status;
      return body.toString();
    };
    await get("network-config");
    await get("meta-data");
    result.seed = JSON.parse(parse(await get("user-data")).write_files[0].content);
    const webhook = parse(await get("vendor-data")).reporting.flynn.endpoint as string;
    const body = JSON.stringify({ name: "modules-final", event_type: "finish", result: "SUCCESS" });
    result.statuses["progress"] = (await http.fetch(webhook, { method: "POST", body })).status;
    await get("user-data"); // cloud-init asks again when an answer got lost
    result.scriptUrl = seedUrl;
  }
  const release = os({ mac, xid: 4, type: MESSAGE.release, ciaddr: addresses[0]!, server });
  release.options.set(OPTION.serverId, addressBytes(server));
  await dhcp.send(release, 67, server);
  console.log(`walk ${JSON.stringify(result)}`);
  http.close();
  dhcp.close();
  return 0;
});
