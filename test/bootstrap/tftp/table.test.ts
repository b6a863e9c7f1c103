import { test } from "uvu";
import * as assert from "uvu/assert";
import { type OpenTransfer, transferTable } from "../../../bootstrap/tftp/table.ts";

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

test.run();
