// The readers of the inventory, by what kernels, programs and switches really print; and by bytes that nobody would print, which must
// neither throw nor get past the report's own schema.
import { Ajv } from "ajv";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { InventoryCpu, InventoryMemory, InventoryNeighbour, InventorySmart } from "#api/inventory.ts";
import { parseCpuinfo } from "../../../hostd/inventory/cpu.ts";
import { holdsOf } from "../../../hostd/inventory/disks.ts";
import { framesOf, neighbourOf, parseLldp } from "../../../hostd/inventory/lldp.ts";
import { parseSmbios } from "../../../hostd/inventory/smbios.ts";
import { cut, told } from "../../../hostd/inventory/text.ts";
import {
  parseEthtool,
  parseLanPrint,
  parseLsblkMore,
  parseMcInfo,
  parseSmart,
} from "../../../hostd/inventory/tools.ts";
import { dimm, lldpFrame, savedFrames, structure, table } from "./fixtures.ts";

const fits = (schema: object, value: unknown) => {
  const ajv = new Ajv({ strict: false, validateSchema: false });
  assert.ok(ajv.validate(schema, value), `${ajv.errorsText()} in ${JSON.stringify(value)}`);
};

test("processors: two sockets of two cores with two threads each, and the flags that matter", () => {
  const block = (n: number) =>
    `processor\t: ${n}\nmodel name\t: Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz\nphysical id\t: ${n >> 2}\ncore id\t\t: ${(n >> 1) & 1}\nflags\t\t: fpu vme aes vmx avx2 nx\n`;
  const text = Array.from({ length: 8 }, (_, n) => block(n)).join("\n");
  assert.equal(parseCpuinfo(text), {
    model: "Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz",
    sockets: 2,
    cores: 4,
    threads: 8,
    flags: ["vmx", "aes", "avx2"],
  });
});

test("processors of Arm have no name and no sockets: each counts as a core of one socket", () => {
  const block = (n: number) =>
    `processor\t: ${n}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd aes crc32 atomics\nCPU part\t: 0xd0c\n`;
  assert.equal(parseCpuinfo(`${block(0)}\n${block(1)}\n`), {
    model: "",
    sockets: 1,
    cores: 2,
    threads: 2,
    flags: ["aes", "crc32", "atomics"],
  });
});

test("SMBIOS: who made it, its memory modules and their correction, and that there is a BMC", () => {
  const found = parseSmbios(
    table(
      structure(0, [1, 2, 0, 0xe8, 3], ["Dell Inc.", "2.19.1", "12/01/2025"]),
      structure(1, [1, 2, 0, 3], ["Dell Inc.", "PowerEdge R640", "CZ1234"]),
      structure(2, [1, 2, 0, 3], ["Dell Inc.", "0H28RR", ".CZ1234."]),
      structure(3, [1, 0x17, 0, 2, 3], ["Dell Inc.", "CHASSIS9", "To Be Filled By O.E.M."]),
      structure(16, [3, 3, 6], []),
      dimm({ slot: "A1", megabytes: 32_768, kind: 26, speed: 2933, serial: "3F8A0001", part: "M393A4K40CB2-CVF" }),
      dimm({ slot: "A2", megabytes: 0, kind: 2, speed: 0, serial: "NO DIMM", part: "NO DIMM" }),
      structure(38, [1, 0x20, 0x20, 0], []),
      structure(127, [], []),
    ),
  );
  assert.equal(found, {
    bios: { vendor: "Dell Inc.", version: "2.19.1", date: "12/01/2025" },
    system: {
      manufacturer: "Dell Inc.",
      product: "PowerEdge R640",
      board: "0H28RR",
      boardSerial: ".CZ1234.",
      chassisSerial: "CHASSIS9",
    },
    correction: "multi-bit ECC",
    dimms: [
      {
        slot: "A1",
        sizeBytes: 32 * 1024 ** 3,
        kind: "DDR4",
        speedMts: 2933,
        serial: "3F8A0001",
        part: "M393A4K40CB2-CVF",
      },
      { slot: "A2", sizeBytes: 0 },
    ],
    hasBmc: true,
  });
});

test("SMBIOS 2.7: a module of 32 GiB and more has its size elsewhere", () => {
  const { dimms } = parseSmbios(table(dimm({ slot: "B1", megabytes: 131_072, kind: 34, speed: 4800 })));
  assert.is(dimms[0]!.sizeBytes, 128 * 1024 ** 3);
});

test("an SMBIOS table that is cut anywhere gives what stood before the cut", () => {
  const whole = table(structure(1, [1, 2, 0, 0], ["Maker", "Box 9"]), dimm({ slot: "A1", megabytes: 1024, kind: 26 }));
  for (let length = 0; length <= whole.length; length++) parseSmbios(whole.subarray(0, length));
  assert.is(parseSmbios(whole.subarray(0, 34)).system.product, "Box 9");
  assert.equal(parseSmbios(whole.subarray(0, 34)).dimms, []);
});

test("any bytes as an SMBIOS table are read without an error, and within the report's schema", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const { dimms, correction } = parseSmbios(Buffer.from(bytes));
      fits(InventoryMemory, { totalBytes: 1, ...(correction ? { correction } : {}), dimms });
    }),
    { numRuns: 500 },
  );
});

test("LLDP: the switch, its port and VLAN, of the frames that systemd-networkd keeps", () => {
  const frame = lldpFrame({ system: "tor-3.example", port: "Ethernet1/7", description: "rack 3 u 12", vlan: 77 });
  assert.equal(neighbourOf(savedFrames(frame)), {
    chassis: "02:00:00:00:00:fe",
    port: "Ethernet1/7",
    portDescription: "rack 3 u 12",
    system: "tor-3.example",
    vlan: 77,
  });
});

test("LLDP: a frame behind another that says nothing is still found, and a file that is cut gives what is whole", () => {
  const good = lldpFrame({ system: "tor-3", port: "7" });
  const file = savedFrames(Buffer.alloc(60), good);
  assert.is(neighbourOf(file)!.system, "tor-3");
  assert.is(framesOf(file.subarray(0, file.length - 1)).length, 1);
});

test("a switch's name with control bytes in it moves no cursor", () => {
  const { system } = parseLldp(lldpFrame({ system: "tor\u001b[2J\n3", port: "7" }))!;
  assert.is(system, "tor?[2J 3");
});

test("any bytes as an LLDP frame are read without an error, and within the report's schema", () => {
  const head = Buffer.from("0180c200000e0200000000fe88cc", "hex");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, withHead) => {
      const found = parseLldp(withHead ? Buffer.concat([head, bytes]) : Buffer.from(bytes));
      if (found !== undefined) fits(InventoryNeighbour, found);
      framesOf(Buffer.from(bytes));
    }),
    { numRuns: 500 },
  );
});

test("SMART: of an ATA disk its reallocated sectors, of NVMe its wear; a disk without health has none", () => {
  const ata = {
    smart_status: { passed: false },
    temperature: { current: 31 },
    power_on_time: { hours: 40_123 },
    ata_smart_attributes: { table: [{ id: 5, raw: { value: 112, string: "112" } }] },
  };
  assert.equal(parseSmart(JSON.stringify(ata)), {
    healthy: false,
    temperatureC: 31,
    powerOnHours: 40_123,
    reallocated: 112,
  });
  const nvme = {
    smart_status: { passed: true },
    nvme_smart_health_information_log: { percentage_used: 3, media_errors: 0 },
  };
  assert.equal(parseSmart(JSON.stringify(nvme)), { healthy: true, wearPercent: 3, mediaErrors: 0 });
  assert.is(
    parseSmart('{"smartctl":{"exit_status":1,"messages":[{"string":"Unable to detect device type"}]}}'),
    undefined,
  );
  assert.is(parseSmart(""), undefined);
});

test("any JSON as smartctl's or lsblk's word is read without an error, and within the report's schema", () => {
  fc.assert(
    fc.property(fc.json(), fc.jsonValue(), (text, value) => {
      parseLsblkMore(text);
      parseLsblkMore(JSON.stringify({ blockdevices: [value] }));
      const smart = parseSmart(JSON.stringify({ smart_status: { passed: true }, temperature: { current: value } }));
      fits(InventorySmart, smart);
      fits(InventoryCpu, parseCpuinfo(text));
    }),
    { numRuns: 500 },
  );
});

test("ethtool, ipmitool: firmware of a card, and card, address and firmware of the BMC", () => {
  const ethtool = "driver: ixgbe\nversion: 6.1.0\nfirmware-version: 0x800008a4, 1.2688.0\nexpansion-rom-version:\n";
  assert.is(parseEthtool(ethtool), "0x800008a4, 1.2688.0");
  assert.is(parseEthtool("driver: virtio_net\nfirmware-version: \n"), undefined);
  const lan = [
    "Set in Progress         : Set Complete",
    "IP Address Source       : Static Address",
    "IP Address              : 10.0.9.14",
    "Subnet Mask             : 255.255.255.0",
    "MAC Address             : D0:94:66:00:00:01",
    "Default Gateway IP      : 10.0.9.1",
  ].join("\n");
  assert.equal(parseLanPrint(lan), { mac: "d0:94:66:00:00:01", address: "10.0.9.14" });
  assert.is(parseLanPrint("IP Address              : 0.0.0.0\n"), undefined);
  assert.is(parseMcInfo("Device ID                 : 32\nFirmware Revision         : 4.40\n"), "4.40");
});

test("what is on a disk is said in words; only zeros at both ends are said to be zeros", () => {
  const nothing = { holders: [], zeroEnds: true };
  assert.is(holdsOf(nothing, []), "zeros at both ends");
  assert.match(holdsOf({ ...nothing, zeroEnds: false }, []), /bytes other than zero/);
  const windows = holdsOf({ signature: "gpt", holders: ["sda1", "sda2"], zeroEnds: false }, [
    "vfat (EFI)",
    "ntfs (Data)",
  ]);
  assert.is(windows, "gpt: vfat (EFI), ntfs (Data)");
  assert.is(holdsOf({ signature: "ext4", label: "home", holders: [], zeroEnds: false }, []), "ext4 (label home)");
  const mark = { cluster: "ab".repeat(32), machineId: "m1", machineName: "node-7", state: "ready" } as never;
  assert.is(
    holdsOf({ mark, holders: [], zeroEnds: false }, []),
    "Flynn state disk of machine node-7 of cluster abababababab",
  );
});

test("filler that makers left is nothing, and hostile text is cut and plain", () => {
  for (const text of [
    "To Be Filled By O.E.M.",
    "Not Specified",
    "Default string",
    "NO DIMM",
    "0000000000",
    " ",
    "Unknown",
  ])
    assert.is(told(text, 64), undefined, text);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 400 }), fc.integer({ min: 1, max: 96 }), (text, most) => {
      const plain = cut(text, most);
      assert.ok(plain.length <= most && /^[\x20-\x7e]*$/.test(plain));
    }),
  );
});

test.run();
