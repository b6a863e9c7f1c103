import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { contains, merge, NOT_INTERNET, NOWHERE, parseRange, textOf } from "../../../hostd/reach/ranges.ts";

test("a CIDR is read by its network, an address as itself, anything else not at all", () => {
  assert.is(textOf(parseRange("10.77.0.5/24")!), "10.77.0.0-10.77.0.255");
  assert.is(textOf(parseRange("10.77.0.5")!), "10.77.0.5");
  assert.is(textOf(parseRange("0.0.0.0/0")!), "0.0.0.0-255.255.255.255");
  for (const text of ["", "10.0.0.0/33", "10.0.0.0/8/8", "fe80::/10", "10.0.0/8", "a", "10.0.0.0/-1", "10.0.0.0/ 8"])
    assert.is(parseRange(text), undefined, text);
});

test("ranges that touch or overlap become one, and none is lost", () => {
  const ranges = ["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7", "10.0.3.0/24", "10.0.0.0/25"].map(
    (text) => parseRange(text)!,
  );
  assert.equal(merge(ranges).map(textOf), ["10.0.0.0-10.0.1.255", "10.0.3.0-10.0.3.255"]);
});

test("whatever is merged, an address is in the whole exactly when it was in a part", () => {
  const range = fc.tuple(fc.nat(300), fc.nat(40)).map(([first, size]) => ({ first, last: first + size }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), fc.nat(360), (ranges, n) => {
      const isIn = (list: typeof ranges) => list.some(({ first, last }) => n >= first && n <= last);
      const merged = merge(ranges);
      return (
        isIn(ranges) === isIn(merged) && merged.every((one, at) => at === 0 || one.first > merged[at - 1]!.last + 1)
      );
    }),
  );
});

test("no private, shared, link-local, documentation or multicast address counts as the internet", () => {
  const special = [...NOWHERE, ...NOT_INTERNET].map((text) => parseRange(text)!);
  const isSpecial = (address: string) => special.some((range) => contains(range, address));
  for (const address of ["10.0.0.1", "172.31.9.9", "192.168.1.1", "100.127.0.1", "169.254.169.254", "127.0.0.1"])
    assert.ok(isSpecial(address), address);
  for (const address of ["203.0.113.7", "198.51.100.1", "192.0.2.1", "198.19.0.1", "224.0.0.251", "255.255.255.255"])
    assert.ok(isSpecial(address), address);
  for (const address of ["11.0.0.1", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255"])
    assert.not(isSpecial(address), address);
});

test.run();
