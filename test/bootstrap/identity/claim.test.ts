import { Ajv } from "ajv";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Claimed } from "#api/machine-identity.ts";
import { classify } from "../../../bootstrap/dhcp/classify.ts";
import { identityOfClient, identityOfQuery } from "../../../bootstrap/identity/claim.ts";
import { bios, ipxe, uefi, uefiHttp } from "../dhcp/packets.ts";

const isIdentity = new Ajv({ strict: false, validateSchema: false }).compile(Claimed);
const of = (query: Record<string, string>) => identityOfQuery(new URLSearchParams(query));
const mac = "52:54:00:00:00:01";

test("a full query is a full identity", () => {
  assert.equal(
    of({
      mac: "52-54-00-00-00-01",
      uuid: "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0",
      serial: "SN 1",
      arch: "x86_64",
      platform: "efi",
      vendor: "Maker, Inc.",
      product: "Box 9",
    }),
    {
      mac,
      uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
      serial: "SN-1",
      architecture: "x86_64",
      firmware: "uefi",
      manufacturer: "Maker, Inc.",
      product: "Box 9",
      whole: true,
    },
  );
});

test("vendors' fillers and what iPXE left unexpanded are absence", () => {
  assert.equal(
    of({
      mac,
      serial: "To be filled by O.E.M.",
      uuid: "$" + "{uuid}",
      product: "$" + "{product:uristring}",
      arch: "$" + "{buildarch}",
    }),
    { mac, whole: true },
  );
  assert.equal(of({ mac, serial: "Default string", uuid: "00000000-0000-0000-0000-000000000000" }), {
    mac,
    whole: true,
  });
});

test("firmware that nothing boots on is claimed as what it is: option 93 of arm64, RISC-V and a Raspberry Pi's card", () => {
  const claim = (packet: ReturnType<typeof uefi>) => {
    const { mac: _, uuid: __, ...rest } = identityOfClient(classify(packet)!);
    return rest;
  };
  assert.equal(claim(uefi({ archs: [11] })), { architecture: "arm64", firmware: "uefi" });
  assert.equal(claim(uefiHttp({ archs: [28] })), { architecture: "riscv64", firmware: "uefi-http" });
  assert.equal(claim(bios({ mac: "dc:a6:32:00:00:01" })), {
    architecture: "arm64",
    firmware: "unknown",
    product: "Raspberry Pi",
  });
  assert.equal(claim(uefi({ archs: [4] })), { firmware: "unknown" });
});

test("nobody is a machine without a unicast MAC", () => {
  for (const bad of [
    "",
    "52:54:00:00:00",
    "01:00:5e:00:00:01",
    "ff:ff:ff:ff:ff:ff",
    "00:00:00:00:00:00",
    `${mac} `,
    `${mac}\n`,
  ]) {
    assert.is(of({ mac: bad }), undefined, bad);
  }
});

test("a query that names no card is nobody's, and no error", () => {
  assert.is(of({}), undefined);
  assert.is(of({ uuid: "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0", serial: "SN1" }), undefined);
});

test("a card is one card however its MAC is written", () => {
  for (const mac of ["52:54:00:AB:CD:EF", "52-54-00-ab-cd-ef", "52-54-00-AB-CD-EF", "52:54:00:ab:cd:ef"])
    assert.is(of({ mac })?.mac, "52:54:00:ab:cd:ef", mac);
});

test("DHCP says the firmware's kind", () => {
  const kinds = [bios(), uefi(), uefiHttp(), ipxe(), uefi({ archs: [0x99] })].map(
    (packet) => identityOfClient(classify(packet)!).firmware,
  );
  assert.equal(kinds, ["bios", "uefi", "uefi-http", "bios", "unknown"]);
});

test("property: whatever a query holds, the identity is one the API accepts", () => {
  const anything = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.constantFrom(mac, "x".repeat(5_000)));
  fc.assert(
    fc.property(
      fc.record({
        mac: fc.constantFrom(mac, ""),
        uuid: anything,
        serial: anything,
        arch: anything,
        platform: anything,
        product: anything,
        vendor: anything,
      }),
      (query) => {
        const identity = of(query);
        assert.ok(identity === undefined || isIdentity(identity), JSON.stringify(isIdentity.errors));
      },
    ),
    { numRuns: 1_000 },
  );
});

test("GRUB that could not read SMBIOS says nothing of it, which is not that the machine has none", () => {
  const said = (query: Record<string, string>) => identityOfQuery(new URLSearchParams(query), "shim");
  assert.equal(said({ mac: "52:54:00:00:00:01", arch: "x86_64", platform: "efi" }), {
    mac: "52:54:00:00:00:01",
    architecture: "x86_64",
    firmware: "uefi",
  });
  assert.is(said({ mac: "52:54:00:00:00:01", uuid: "", serial: "" })?.whole, true);
});

test.run();
