import { test } from "uvu";
import * as assert from "uvu/assert";
import { MACHINE_TYPES } from "../../../bootstrap/dhcp/architectures.ts";
import { classify, usableUuid } from "../../../bootstrap/dhcp/classify.ts";
import type { Packet } from "../../../bootstrap/dhcp/packet.ts";
import { bios, ipxe, MAC, os, request, UUID, uefi, uefiHttp } from "./packets.ts";

const cases: [string, Packet, string, string | undefined][] = [
  ["BIOS firmware", bios(), "pxe", "bios-x86"],
  ["UEFI firmware, architecture 7", uefi(), "pxe", "uefi-x64"],
  ["UEFI firmware that says EBC, architecture 9", uefi({ archs: [9] }), "pxe", "uefi-x64"],
  ["UEFI HTTP firmware", uefiHttp(), "http", "uefi-x64"],
  ["ARM64 UEFI firmware", uefi({ archs: [11] }), "pxe", "uefi-arm64"],
  ["32-bit UEFI firmware, architecture 6", uefi({ archs: [6] }), "pxe", undefined],
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

/** RFC 4578 2.1 with the numbers of the IANA registry (2024): what each is called, and which have a boot file. */
const REGISTRY: [arch: number, name: string, platform?: string][] = [
  [0, "x86 BIOS", "bios-x86"],
  [2, "Itanium UEFI"],
  [6, "32-bit x86 UEFI"],
  [7, "x86-64 UEFI", "uefi-x64"],
  [9, "x86-64 UEFI", "uefi-x64"],
  [10, "32-bit ARM UEFI"],
  [11, "arm64 UEFI", "uefi-arm64"],
  [12, "PowerPC Open Firmware"],
  [14, "POWER OPAL v3"],
  [15, "32-bit x86 UEFI HTTP"],
  [16, "x86-64 UEFI HTTP", "uefi-x64"],
  [18, "32-bit ARM UEFI HTTP"],
  [19, "arm64 UEFI HTTP", "uefi-arm64"],
  [20, "x86 BIOS HTTP", "bios-x86"],
  [22, "arm64 U-Boot"],
  [27, "64-bit RISC-V UEFI"],
  [32, "s390 Extended"],
  [34, "64-bit MIPS UEFI"],
  [39, "64-bit LoongArch UEFI"],
  [41, "Raspberry Pi"],
];
for (const [arch, name, platform] of REGISTRY)
  test(`RFC 4578 2.1: option 93 = 00${arch.toString(16).padStart(2, "0")} is ${name}`, () => {
    const packet = request({ vendorClass: "PXEClient", extra: [[93, Buffer.from([0, arch])]] });
    const { type, platform: file } = classify(packet)!;
    assert.equal([type?.name, file], [name, platform]);
    assert.match(type!.architecture!, /^[a-z0-9_]{1,16}$/, "a claim's form");
  });

test("the registry's numbers are known without a gap, and the ones after it are nobody's", () => {
  for (let arch = 0; arch <= 41; arch++) assert.ok(MACHINE_TYPES.has(arch), String(arch));
  assert.is(classify(uefi({ archs: [42] }))!.type, undefined);
});

test("a Raspberry Pi is known by its card, though its boot ROM says 0 (a BIOS); another card that says 0 is a BIOS", () => {
  for (const mac of ["b8:27:eb:00:00:01", "dc:a6:32:00:00:01", "e4:5f:01:00:00:01", "d8:3a:dd:00:00:01"])
    assert.equal([classify(bios({ mac }))!.type?.name, classify(bios({ mac }))!.platform], ["Raspberry Pi", undefined]);
  assert.is(
    classify(uefi({ mac: "dc:a6:32:00:00:01", archs: [11] }))!.type?.name,
    "arm64 UEFI",
    "a Pi with UEFI says so",
  );
  assert.is(classify(bios())!.type?.name, "x86 BIOS");
});

test("of a list the one that there is a file for counts, else the first that has a name", () => {
  const of = (...archs: number[]) => classify(uefi({ archs }))!.type?.name;
  assert.equal(
    [of(6, 7), of(0x99, 6), of(6, 10), of(0x99)],
    ["x86-64 UEFI", "32-bit x86 UEFI", "32-bit x86 UEFI", undefined],
  );
});

test.run();
