import { test } from "uvu";
import * as assert from "uvu/assert";
import { listRows, streamRows } from "../../../hostd/engine/list-rows.ts";

async function* inPieces(text: string, bytes: number) {
  const all = Buffer.from(text);
  for (let n = 0; n < all.length; n += bytes) yield all.subarray(n, n + bytes);
}
const wanted = { fields: ["Id", "Names", "State", "NetworkSettings"], labels: ["flynn.job", "flynn.app"] };
const one = (id: string, labels: object | null = { "flynn.job": id, "flynn.app": 'a "b" \\ {,:[ ü' }) => ({
  Id: id,
  Names: [`/flynn-${id}`, "/a/b"],
  Command: 'sh -c "{[,:\\"',
  Ports: [{ PrivatePort: 80, Labels: { "flynn.job": "no" } }],
  Labels: labels,
  State: "running",
  NetworkSettings: { Networks: { flynn: { IPAddress: "100.64.7.9" } } },
  Mounts: [],
});
const held = (id: string, Labels: object = one(id).Labels!) => {
  const { Names, State, NetworkSettings } = one(id);
  return { Id: id, Names, State, NetworkSettings, Labels };
};

test("of each row what is asked for is held, however the answer is cut", async () => {
  for (const space of [undefined, 2]) {
    const text = `${JSON.stringify([one("x"), one("y", null), one("z", {})], null, space)}\n`;
    for (const bytes of [1, 2, 3, 7, 64, 1 << 20])
      assert.equal(await listRows(inPieces(text, bytes), wanted), [held("x"), held("y", {}), held("z", {})]);
  }
  assert.equal(await listRows(inPieces("[]\n", 1), wanted), []);
});

test("an image's labels of any size and number hide neither their container nor another", async () => {
  const many = Object.fromEntries(Array.from({ length: 1_000 }, (_, n) => [`theirs.${n}`, "x".repeat(9_000)]));
  const long = { ["k".repeat(1 << 20)]: "v", long: "x".repeat(1 << 20) };
  async function* answer() {
    const row = JSON.stringify(one("x", { ...many, ...long, ...one("x").Labels }));
    for (let n = 0; n < 9; n++) yield Buffer.from(`${n === 0 ? "[" : ","}${row}`);
    yield Buffer.from(`,${JSON.stringify(one("y"))}]`);
  }
  const rows = await listRows(answer(), wanted);
  assert.is(rows.length, 10);
  assert.equal(rows[0], held("x"));
  assert.equal(rows[9], held("y"));
});

test("a list that ends early is an error, never a shorter list", async () => {
  const text = JSON.stringify([one("x"), one("y")]);
  for (const length of [0, 1, 20, text.length - 1]) {
    const error = await listRows(inPieces(text.slice(0, length), 64), wanted).catch((cause: unknown) => cause);
    assert.ok(error instanceof Error, `${length}`);
  }
});

test("objects that follow one another without end are read in the same way", async () => {
  const text = `${JSON.stringify(one("x"))}\n${JSON.stringify(one("y"), null, 2)}\n${JSON.stringify(one("z"))}`;
  for (const bytes of [1, 7, 1 << 20]) {
    const rows: object[] = [];
    for await (const row of streamRows(inPieces(text, bytes), wanted)) rows.push(row);
    assert.equal(rows, [held("x"), held("y"), held("z")]);
  }
});

test.run();
