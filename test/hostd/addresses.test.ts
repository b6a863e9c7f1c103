import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { chooseAddress, keepAddresses } from "../../hostd/addresses.ts";

const SUBNET = "100.64.7.0/24";

test("addresses never used come first, in their order; neither the gateway nor the ends of the subnet are given", () => {
  const choose = (recent: string[], inUse: string[] = []) =>
    chooseAddress({ subnet: "10.0.0.0/29", recent, inUse: new Set(inUse) });
  const given: string[] = [];
  for (let address = choose(given); address && !given.includes(address); address = choose(given)) given.push(address);
  assert.equal(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
  assert.is(choose([], ["10.0.0.2"]), "10.0.0.3");
});

test("then comes the one that has been out of use the longest; with all in use there is none", () => {
  const recent = ["10.0.0.3", "192.0.2.4", "10.0.0.2"];
  const choose = (inUse: string[]) => chooseAddress({ subnet: "10.0.0.0/30", recent, inUse: new Set(inUse) });
  assert.is(choose([]), "10.0.0.2", "the only one of this subnet");
  assert.is(choose(["10.0.0.2"]), undefined);
  const wide = { subnet: "10.0.0.0/29", recent: ["10.0.0.5", "10.0.0.3", "10.0.0.2", "10.0.0.4", "10.0.0.6"] };
  assert.is(chooseAddress({ ...wide, inUse: new Set(["10.0.0.5"]) }), "10.0.0.3");
});

test("an address comes back only after every other free one was given, whatever ran how long", () => {
  const idle = fc.array(fc.integer({ min: 2, max: 254 }), { maxLength: 200 });
  fc.assert(
    fc.property(idle, (octets) => {
      const others = new Set(octets.filter((octet) => octet !== 2).map((octet) => `100.64.7.${octet}`));
      const addresses = keepAddresses();
      const dead = addresses.take(SUBNET)!;
      addresses.see([dead, ...others]);
      addresses.see(others);
      const free = 253 - others.size;
      for (let n = 1; n < free; n++) assert.is.not(addresses.take(SUBNET), dead);
      assert.is(addresses.take(SUBNET), dead);
    }),
    { numRuns: 20 },
  );
});

test("an address that is in use is given to nobody, and is the last to come back when it goes", () => {
  const addresses = keepAddresses();
  const subnet = "10.0.0.0/29";
  addresses.see(["10.0.0.2", "10.0.0.4"]);
  assert.equal(
    Array.from({ length: 3 }, () => addresses.take(subnet)),
    ["10.0.0.3", "10.0.0.5", "10.0.0.6"],
  );
  addresses.see(["10.0.0.2", "10.0.0.3"]);
  assert.equal([addresses.take(subnet), addresses.take(subnet)], ["10.0.0.5", "10.0.0.6"]);
  assert.is(addresses.take(subnet), "10.0.0.4", "it went after those were given");
  addresses.see(["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
  assert.is(addresses.take(subnet), undefined);
});

test("a hostd that starts anew goes on where the one before stood, and adopts what runs", () => {
  const before = keepAddresses();
  const dead = before.take(SUBNET)!;
  before.see([dead]);
  before.see([]);
  const after = keepAddresses(before.recent());
  after.see(["100.64.7.3"]);
  assert.is(after.take(SUBNET), "100.64.7.4");
  assert.is(after.take("100.64.8.0/24"), "100.64.8.2", "another subnet begins anew");
  assert.equal(after.recent(), ["100.64.8.2"]);
});

test.run();
