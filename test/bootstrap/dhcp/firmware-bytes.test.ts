// Requests as bytes, of firmware that no emulator here has: U-Boot (net/bootp.c, distro boot of arm64), a Raspberry Pi 4's boot ROM, and
// a PXE ROM behind a relay that adds option 82. Through the parser, the table of machines and the decision, as from the wire.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { classify } from "../../../bootstrap/dhcp/classify.ts";
import type { OfferConfig } from "../../../bootstrap/dhcp/exchange.ts";
import { createLeases } from "../../../bootstrap/dhcp/leases.ts";
import { offer } from "../../../bootstrap/dhcp/offer.ts";
import { encodePacket, parsePacket } from "../../../bootstrap/dhcp/packet.ts";

const CONFIG: OfferConfig = {
  mode: "full",
  address: "10.77.0.1",
  network: { address: "10.77.0.0", prefix: 24 },
  httpPort: 7780,
  loaders: ["ipxe", "shim"],
  served: new Set(["undionly.kpxe", "snponly.efi", "ipxe-arm64.efi"]),
  router: undefined,
  dns: [],
  ntp: [],
  domain: undefined,
  leaseMs: 3_600_000,
  quarantineMs: 600_000,
};

interface Wire {
  mac: string;
  options: string;
  hops?: number;
  secs?: number;
  flags?: number;
  giaddr?: string;
}

/** The fixed part of RFC 2131 figure 1, the magic cookie, and the options as hex. */
function onTheWire({ mac, options, hops = 0, secs = 0, flags = 0, giaddr = "00000000" }: Wire): Buffer {
  const hex = (value: number, bytes: number) => value.toString(16).padStart(bytes * 2, "0");
  const head = `010106${hex(hops, 1)}4a5b6c7d${hex(secs, 2)}${hex(flags, 2)}${"00".repeat(12)}${giaddr}`;
  const body = `${mac.replaceAll(":", "")}${"00".repeat(10)}${"00".repeat(192)}63825363${options.replaceAll(" ", "")}`;
  return Buffer.from(head + body, "hex");
}

const ascii = (text: string) => Buffer.from(text).toString("hex");
const PXE = (arch: string) => `3c20 ${ascii(`PXEClient:Arch:${arch}:UNDI:003000`)}`;

function answered(bytes: Buffer, mode: OfferConfig["mode"] = "full") {
  const parsed = parsePacket(bytes);
  if (!parsed.ok) throw new Error(parsed.reason);
  const client = classify(parsed.packet)!;
  const decision = offer({
    ...{
      packet: parsed.packet,
      client,
      port: 67,
      source: { address: "0.0.0.0", port: 68 },
      machine: { mayBoot: true },
    },
    ...{
      leases: createLeases({ first: "10.77.0.50", last: "10.77.0.60" }),
      rung: 0,
      config: { ...CONFIG, mode },
      nowMs: 0,
    },
  });
  return {
    client,
    decision,
    replies: decision.replies.map(({ packet, to }) => ({ ...packet, to, bytes: encodePacket(packet) })),
  };
}

const UBOOT = onTheWire({
  mac: "00:0a:35:00:1e:53",
  secs: 3,
  options: `350101 39020240 5d02000b 5e03010000 ${PXE("00011")} 3705 01 03 06 43 0c ff`,
});
const RASPBERRY = onTheWire({
  mac: "dc:a6:32:01:02:03",
  options: `350101 370e 01 03 2b 3c 42 43 80 81 82 83 84 85 86 87 6111 00 52506934 0414d000 03b0c1d2 a1b2c3d4 5d020000 5e03010201 ${PXE("00000")} ff`,
});
const RELAYED = onTheWire({
  mac: "3c:ec:ef:10:20:30",
  hops: 1,
  secs: 4,
  flags: 0x8000,
  giaddr: "0a4d00fe",
  options: `350101 39020548 5d020007 5e03010310 ${PXE("00007")} 5212 0106 000400140103 0208 0006a1b2c3d4e5f6 ff`,
});

test("U-Boot that says it is arm64 UEFI finds its file in the header, where alone it looks, by our address as next server", () => {
  const { client, replies } = answered(UBOOT);
  assert.equal([client.kind, client.type?.name], ["pxe", "arm64 UEFI"]);
  const [reply] = replies;
  assert.equal([reply?.file, reply?.siaddr, reply?.yiaddr], ["ipxe-arm64.efi", "10.77.0.1", "10.77.0.50"]);
  assert.ok(reply!.bytes.length >= 300 && reply!.bytes.length <= 576, "what U-Boot takes");
});

test("a Raspberry Pi's boot ROM says it is a BIOS; it gets an address and no BIOS loader", () => {
  const { client, decision, replies } = answered(RASPBERRY);
  assert.equal([client.kind, client.type?.name, client.uuid === undefined], ["pxe", "Raspberry Pi", false]);
  assert.equal([decision.noBootFile, replies[0]?.file, replies[0]?.yiaddr], [true, "", "10.77.0.50"]);
  assert.equal(answered(RASPBERRY, "proxy").replies, [], "beside another DHCP server there is nothing to add");
});

test("a relayed ROM is answered to the relay, with the relay's information as it came, last of all options", () => {
  for (const mode of ["full", "proxy"] as const) {
    const { replies } = answered(RELAYED, mode);
    assert.ok(replies.length > 0);
    for (const { to, giaddr, file, flags, bytes } of replies) {
      assert.equal(
        [to, giaddr, file, flags],
        [{ address: "10.77.0.254", port: 67 }, "10.77.0.254", "snponly.efi", 0x8000],
      );
      const at = bytes.indexOf(Buffer.from("52120106000400140103020800", "hex"));
      assert.is(
        bytes.subarray(at + 20).find((byte) => byte !== 0),
        0xff,
        "nothing but the end follows",
      );
    }
  }
});

test.run();
