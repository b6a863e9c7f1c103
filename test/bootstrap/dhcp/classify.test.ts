import { test } from "uvu";
import * as assert from "uvu/assert";
import { classify, usableUuid } from "../../../bootstrap/dhcp/classify.ts";
import type { Packet } from "../../../bootstrap/dhcp/packet.ts";
import { bios, ipxe, MAC, os, request, UUID, uefi, uefiHttp } from "./packets.ts";

const cases: [string, Packet, string, string | undefined][] = [
  ["BIOS firmware", bios(), "pxe", "bios-x86"],
  ["UEFI firmware, architecture 7", uefi(), "pxe", "uefi-x64"],
  ["UEFI firmware that says EBC, architecture 9", uefi({ archs: [9] }), "pxe", "uefi-x64"],
  ["UEFI HTTP firmware", uefiHttp(), "http", "uefi-x64"],
  ["ARM64 UEFI firmware", uefi({ archs: [11] }), "pxe", "uefi-arm64"],
  ["32-bit UEFI firmware, architecture 6", uefi({ archs: [6] }), "pxe", "uefi-ia32"],
  ["UEFI HTTP firmware that says EBC, architecture 17", uefiHttp({ archs: [17] }), "http", "uefi-x64"],
  ["ARM64 UEFI HTTP firmware, architecture 19", uefiHttp({ archs: [19] }), "http", "uefi-arm64"],
  ["PXE firmware of an architecture beside a known one", uefi({ archs: [18] }), "pxe", undefined],
  ["a list whose first architecture is unknown", uefi({ archs: [0x99, 7] }), "pxe", "uefi-x64"],
  ["an unknown architecture alone", uefi({ archs: [0x99] }), "pxe", undefined],
  ["PXE firmware that says no architecture is a BIOS", bios({ archs: undefined }), "pxe", "bios-x86"],
  ["iPXE", ipxe(), "ipxe", "bios-x86"],
  ["iPXE with an RFC 3004 user class", ipxe({ userClass: "\x04iPXE" }), "ipxe", "bios-x86"],
  ["an iPXE without HTTP (VirtualBox) is firmware", ipxe({ ipxeFeatures: [0x15, 0x21] }), "pxe", "bios-x86"],
  ["an operating system", os(), "os", "bios-x86"],
];

for (const [name, packet, kind, platform] of cases) {
  test(`${name} is told as ${kind}`, () => {
    const client = classify(packet);
    assert.is(client?.kind, kind);
    assert.is(client?.platform, platform);
    assert.is(client?.mac, MAC);
  });
}

test("a UUID that vendors leave in every machine is no identity", () => {
  assert.is(classify(bios())?.uuid, UUID);
  assert.is(classify(request({ extra: [[97, Buffer.alloc(17)]] }))?.uuid, undefined);
  assert.is(usableUuid("03000200-0400-0500-0006-000700080009"), undefined);
  assert.is(usableUuid("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"), undefined);
  assert.is(usableUuid("0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0"), "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
  assert.is(usableUuid(""), undefined);
  assert.is(usableUuid(undefined), undefined);
  assert.is(usableUuid('0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"; reboot'), undefined);
});

test.run();
