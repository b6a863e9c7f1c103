import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_LIMITS, type OpenTransfer, transferTable } from "../../../bootstrap/tftp/table.ts";

const transfer = (address: string, port: number, progressAtMs: number, proven = true): OpenTransfer => ({
  address,
  port,
  progressAtMs,
  proven,
});

test("a client at its limit has its own stalest transfer evicted, never another's", () => {
  const table = transferTable({ transfers: 10, transfersPerClient: 2 });
  const [other, old, recent] = [transfer("b", 1, 0), transfer("a", 1, 5), transfer("a", 2, 9)];
  for (const one of [other, old, recent]) table.add(one);
  assert.equal(table.admit("a"), { evict: old });
  assert.is(table.admit("b"), "admit");
  assert.ok(table.remove(old));
  assert.not(table.remove(old), "twice");
  assert.is(table.admit("a"), "admit");
});

test("a full table evicts who never answered, and refuses when all have", () => {
  const table = transferTable({ transfers: 3, transfersPerClient: 8 });
  const forged = transfer("x", 1, 7, false);
  for (const one of [transfer("a", 1, 1), forged, transfer("b", 1, 2)]) table.add(one);
  assert.equal(table.admit("new"), { evict: forged });
  table.remove(forged);
  table.add(transfer("c", 1, 3));
  assert.is(table.admit("new"), "refuse");
});

test("a transfer that took over an address and port is not removed by the one before", () => {
  const table = transferTable({ transfers: 3, transfersPerClient: 8 });
  const [first, second] = [transfer("a", 1, 1), transfer("a", 1, 2)];
  table.add(first);
  table.remove(first);
  table.add(second);
  assert.not(table.remove(first));
  assert.is(table.find({ address: "a", port: 1 }), second);
  assert.equal([table.size, table.all()], [1, [second]]);
});

test("as many transfers of a client as are allowed are let in, each ending makes room for one", () => {
  const table = transferTable({ transfers: 10, transfersPerClient: 3 });
  const own = [1, 2, 3].map((port) => transfer("a", port, port));
  for (const [n, one] of own.entries()) {
    assert.is(table.admit("a"), "admit", `${n} are open`);
    table.add(one);
  }
  assert.equal(table.admit("a"), { evict: own[0] });
  table.remove(own[1]!);
  assert.is(table.admit("a"), "admit");
  table.add(transfer("a", 4, 4));
  assert.equal(table.admit("a"), { evict: own[0] }, "two are left of it, and a new one");
  for (const one of table.all()) table.remove(one);
  assert.equal([table.size, table.admit("a")], [0, "admit"]);
  for (const one of own.slice(1)) table.add(one);
  assert.is(table.admit("a"), "admit", "counted anew");
  table.add(own[0]!);
  assert.equal(table.admit("a"), { evict: own[0] });
});

test("a client that is full gives way to itself in a full table, proven or not", () => {
  const table = transferTable({ transfers: 2, transfersPerClient: 1 });
  const [own, forged] = [transfer("a", 1, 9), transfer("b", 1, 1, false)];
  table.add(own);
  table.add(forged);
  assert.equal(table.admit("a"), { evict: own });
  assert.equal(table.admit("c"), { evict: forged });
});

test("of several that never answered the stalest gives way", () => {
  const table = transferTable({ transfers: 3, transfersPerClient: 8 });
  const forged = [5, 3, 4].map((progressAtMs, port) => transfer("x", port, progressAtMs, false));
  for (const one of forged) table.add(one);
  assert.equal(table.admit("new"), { evict: forged[1] });
});

test("a client is its address and port; unless it is set, eight of one and 512 of all are open, and 32 MiB kept", () => {
  const table = transferTable(DEFAULT_LIMITS);
  const one = transfer("a", 1, 1);
  table.add(one);
  assert.is(table.find({ address: "a", port: 1 }), one);
  for (const other of [
    { address: "a", port: 2 },
    { address: "b", port: 1 },
  ])
    assert.is(table.find(other), undefined);
  assert.equal(DEFAULT_LIMITS, { transfersPerClient: 8, transfers: 512, cacheBytes: 33_554_432 });
});

test.run();
