// Addresses and networks, against arithmetic that does no bit tricks.
import { isIPv4 } from "node:net";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  broadcastOf,
  contains,
  exampleSpan,
  isAddress,
  maskOf,
  parseNetwork,
  parseRelay,
  parseSpan,
  toAddress,
  toNumber,
  upperHalf,
} from "#lib/ipv4.ts";

const bytesOf = (value: number) => [3, 2, 1, 0].map((n) => Math.floor(value / 256 ** n) % 256);
const anyAddress = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const anyPrefix = fc.integer({ min: 0, max: 32 });

test("addresses are four bytes without a zero before them, and nothing else is one", () => {
  for (const text of ["0.0.0.0", "255.255.255.255", "10.77.0.1", "99.100.199.200", "249.250.9.19", "1.2.3.4"])
    assert.ok(isAddress(text), text);
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.260.1.1",
    "1.1.300.1",
    "1.1.1.1000",
    "1.2.3.4 ",
    " 1.2.3.4",
  ])
    assert.not(isAddress(text), text);
  for (const text of ["a.b.c.d", "1.2.3.", ".1.2.3", "1..2.3", "::1", "1.2.3.4\n", "-1.2.3.4", "1.2.3.4/24"])
    assert.not(isAddress(text), text);
  for (const text of ["010.0.0.1", "10.20.0.05", "10.00.0.1", "08.8.8.8", "1.2.3.007"]) {
    assert.not(isAddress(text), text);
    assert.is(parseNetwork(`${text}/24`), undefined);
  }
});

test("property: a text is an address here when Node's inet_pton says so", () => {
  const byte = fc.oneof(fc.integer({ min: 0, max: 300 }).map(String), fc.stringMatching(/^\d{0,4}$/));
  fc.assert(
    fc.property(fc.array(byte, { minLength: 3, maxLength: 5 }), (bytes) => {
      const text = bytes.join(".");
      assert.is(isAddress(text), isIPv4(text), text);
    }),
    { numRuns: 2_000 },
  );
});

test("property: an address is its number and back, as its bytes are read", () => {
  fc.assert(
    fc.property(anyAddress, (value) => {
      const text = bytesOf(value).join(".");
      assert.is(toAddress(value), text);
      assert.is(toNumber(text), value);
      assert.ok(isAddress(text));
    }),
  );
});

test("property: a network holds the addresses that begin as it does, from its own to its broadcast", () => {
  fc.assert(
    fc.property(anyAddress, anyPrefix, anyAddress, (value, prefix, other) => {
      const size = 2 ** (32 - prefix);
      const first = Math.floor(value / size) * size;
      const network = parseNetwork(`${toAddress(value)}/${prefix}`)!;
      assert.equal(network, { address: toAddress(first), prefix });
      assert.is(toNumber(broadcastOf(network)), first + size - 1);
      assert.is(toNumber(maskOf(prefix)), 2 ** 32 - size);
      assert.is(contains(network, toAddress(other)), other >= first && other < first + size);
      for (const inside of [value, first, first + size - 1]) assert.ok(contains(network, toAddress(inside)));
      if (first > 0) assert.not(contains(network, toAddress(first - 1)));
    }),
  );
});

test("what is no network is none", () => {
  for (const text of [
    "10.0.0.0",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/x",
    "10.0.0/8",
    "/8",
    "",
    "10.0.0.0/008",
    "10.0.0.0/-1",
  ])
    assert.is(parseNetwork(text), undefined, text);
  assert.equal(parseNetwork("10.0.0.1/32"), { address: "10.0.0.1", prefix: 32 });
  assert.equal(parseNetwork("10.0.0.1/0"), { address: "0.0.0.0", prefix: 0 });
});

test("on every network there is a span to propose, and it is taken; with an address that is somebody's it is not", () => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), fc.integer({ min: 1, max: 30 }), fc.nat(0xffffffff), (base, prefix, at) => {
      const network = parseNetwork(`${toAddress(base)}/${prefix}`)!;
      const start = toNumber(network.address);
      const own = toAddress(start + 1 + (at % (2 ** (32 - prefix) - 2)));
      const example = exampleSpan(network, own);
      assert.type(parseSpan(example, network, own), "object", example);
      for (const taken of [network.address, broadcastOf(network), own])
        assert.match(parseSpan(`${taken}-${taken}`, network, own) as string, `holds ${taken}`);
      const { first, last } = upperHalf(network);
      assert.ok(toNumber(first) <= toNumber(last) && contains(network, first) && contains(network, last));
    }),
  );
});

test("a span of more than 65536 addresses, or turned round, is refused in words", () => {
  const network = parseNetwork("10.0.0.0/8")!;
  assert.equal(parseSpan("10.1.0.0-10.1.255.255", network, "10.0.0.1"), { first: "10.1.0.0", last: "10.1.255.255" });
  assert.match(parseSpan("10.1.0.0-10.2.0.0", network, "10.0.0.1") as string, "65536 is the most");
  assert.match(parseSpan("10.1.0.9-10.1.0.1", network, "10.0.0.1") as string, "turned round");
});

test("a relay is its address with its prefix, and where it sends from", () => {
  const own = parseNetwork("10.77.0.1/24")!;
  const network = { address: "10.88.0.0", prefix: 24 };
  assert.equal(parseRelay("10.88.0.1/24", own), { address: "10.88.0.1", network });
  assert.equal(parseRelay("10.88.0.1/24@10.77.0.254", own), { address: "10.88.0.1", network, uplink: "10.77.0.254" });
  for (const wrong of ["10.88.0.1", "10.88.0.1/31", "10.88.0.1/7", "10.88.0.1/24@", "10.88.0.1/24@a@b", "10.77.0.9/24"])
    assert.type(parseRelay(wrong, own), "string", wrong);
});

test.run();
