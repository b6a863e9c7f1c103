// What answers to the question which DHCP servers are there say of them, and which are rogue.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { dhcpServerText } from "#api/dhcp-servers.ts";
import { addressBytes, ascii, MESSAGE, OPTION } from "../../../bootstrap/dhcp/options.ts";
import type { Packet } from "../../../bootstrap/dhcp/packet.ts";
import { isProbe, newProbeCard } from "../../../bootstrap/preflight/card.ts";
import { merged, rogues, serverOf } from "../../../bootstrap/preflight/heard.ts";
import { request } from "../dhcp/packets.ts";

const answer = (options: [number, Buffer][], more: Partial<Packet> = {}): Packet => ({
  ...request(),
  ...{
    op: 2,
    yiaddr: "10.77.0.40",
    options: new Map([[OPTION.messageType, Buffer.from([MESSAGE.offer])], ...options]),
  },
  ...more,
});
const ID: [number, Buffer] = [OPTION.serverId, addressBytes("10.77.0.9")];

test("an offer says who gives addresses, and who tells machines what to boot by any of the ways there are", () => {
  assert.equal(serverOf(answer([ID]), "10.77.0.8"), { address: "10.77.0.9", gives: "10.77.0.40", boots: false });
  assert.is(serverOf(answer([]), "10.77.0.8")!.address, "10.77.0.8", "one that does not say who it is");
  const boots: [[number, Buffer][], Partial<Packet>?][] = [
    [[ID, [OPTION.vendorClass, ascii("PXEClient")]]],
    [[ID, [OPTION.vendorClass, ascii("HTTPClient")]]],
    [[ID, [OPTION.vendor, Buffer.from([6, 1, 8])]]],
    [[ID, [OPTION.bootfile, ascii("pxelinux.0")]]],
    [[ID], { file: "pxelinux.0" }],
  ];
  for (const [options, more] of boots) assert.ok(serverOf(answer(options, more), "")!.boots);
  const proxy = serverOf(answer([ID, [OPTION.vendorClass, ascii("PXEClient")]], { yiaddr: "0.0.0.0" }), "")!;
  assert.equal(proxy, { address: "10.77.0.9", boots: true });
  assert.is(dhcpServerText(proxy), "10.77.0.9 tells machines what to boot");
  assert.is(serverOf({ ...request(), op: 2 }, ""), undefined, "what is no offer is nobody's");
});

test("what one server says to several clients is one server", () => {
  const plain = { address: "10.77.0.9", gives: "10.77.0.40", boots: false };
  const boots = { address: "10.77.0.9", boots: true, file: "x" };
  for (const order of [
    [plain, boots],
    [boots, plain],
  ])
    assert.equal(merged(order), [{ address: "10.77.0.9", gives: "10.77.0.40", boots: true, file: "x" }]);
});

test("rogue is who was not there at the start, has another card than then, or boots machines as we do", () => {
  const was = { address: "10.77.0.9", card: "52:54:00:00:00:09", gives: "10.77.0.40", boots: false };
  assert.equal(rogues([was], [was]), []);
  assert.equal(rogues([was], [{ ...was, card: undefined as never }]), []);
  assert.equal(rogues([], [was]), [{ ...was, rogueAs: "new" }]);
  assert.is(rogues([was], [{ ...was, card: "52:54:00:00:00:66" }])[0]!.rogueAs, "new");
  assert.is(rogues([was], [{ ...was, boots: true }])[0]!.rogueAs, "boots");
});

test("the card that asks is locally administered, no group's, and known as such again", () => {
  for (let n = 0; n < 50; n++) {
    const card = newProbeCard();
    assert.match(card, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    assert.is(Number.parseInt(card.slice(0, 2), 16) & 3, 2);
    assert.ok(isProbe(card));
  }
  assert.not.ok(isProbe("52:54:00:00:00:01"));
});

test.run();
