import { Ajv } from "ajv";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { MachineIdentity } from "#api/machines.ts";
import { classify } from "../../bootstrap/dhcp/classify.ts";
import { identityOfClient, identityOfQuery, sameUuid } from "../../bootstrap/identity.ts";
import { bios, ipxe, uefi, uefiHttp } from "./dhcp/packets.ts";

const isIdentity = new Ajv({ strict: false, validateSchema: false }).compile(MachineIdentity);
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
      product: "Box 9",
    }),
    {
      mac,
      uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
      serial: "SN-1",
      architecture: "x86_64",
      firmware: "uefi",
      product: "Box 9",
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
    { mac },
  );
  assert.equal(of({ mac, serial: "Default string", uuid: "00000000-0000-0000-0000-000000000000" }), { mac });
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

test("DHCP says the firmware's kind", () => {
  const kinds = [bios(), uefi(), uefiHttp(), ipxe(), uefi({ archs: [0x99] })].map(
    (packet) => identityOfClient(classify(packet)!).firmware,
  );
  assert.equal(kinds, ["bios", "uefi", "uefi-http", "bios", "unknown"]);
});

test("both byte orders of a UUID are one machine", () => {
  assert.ok(sameUuid("3c2d1e0f-5a4b-7869-8796-a5b4c3d2e1f0", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"));
  assert.not.ok(sameUuid("3c2d1e0f-5a4b-7869-8796-a5b4c3d2e1f1", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"));
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

test.run();
