import { test } from "uvu";
import * as assert from "uvu/assert";
import { DEFAULT_CAPS, negotiate } from "../../../bootstrap/tftp/negotiate.ts";

const ask = (options: Record<string, string>, sizeBytes = 1000, caps = DEFAULT_CAPS) => {
  const { oack, ...rest } = negotiate(new Map(Object.entries(options)), sizeBytes, caps);
  return { ...rest, oack: Object.fromEntries(oack) };
};

test("no option, or none we know, is RFC 1350: 512 bytes, lock step, no OACK (RFC 2347)", () => {
  const plain = { blksize: 512, windowsize: 1, timeoutMs: undefined, oack: {} };
  for (const options of [{}, { multicast: "1" }, { __proto__x: "1", "": "2" }])
    assert.equal(ask(options as Record<string, string>), plain);
});

test("options are lowered, taken, or left out of the OACK, never refused", () => {
  const table: [Record<string, string>, Record<string, string>][] = [
    [{ blksize: "8" }, { blksize: "8" }],
    [{ blksize: "1468" }, { blksize: "1468" }],
    [{ blksize: "65464" }, { blksize: "1468" }], // live-boot asks this; its fragments die at firewalls
    [{ blksize: "99999" }, { blksize: "1468" }],
    [{ blksize: "7" }, {}],
    [{ blksize: "-1" }, {}],
    [{ blksize: "1e3" }, {}],
    [{ blksize: "" }, {}],
    [{ blksize: "9".repeat(400) }, {}],
    [{ tsize: "0" }, { tsize: "1000" }],
    [{ tsize: "77" }, { tsize: "1000" }], // RFC 2349 says 0; some send what they hope for
    [{ tsize: "x" }, {}],
    [{ timeout: "1" }, { timeout: "1" }],
    [{ timeout: "255" }, { timeout: "255" }],
    [{ timeout: "0" }, {}],
    [{ timeout: "256" }, {}],
    [{ windowsize: "1" }, { windowsize: "1" }],
    [{ windowsize: "4" }, { windowsize: "4" }],
    [{ windowsize: "65535" }, { windowsize: "64" }],
    [{ windowsize: "0" }, {}],
    [{ windowsize: "65536" }, {}],
  ];
  for (const [options, oack] of table) assert.equal(ask(options).oack, oack, JSON.stringify(options));
});

test("the OACK keeps the order asked and leaves out what is unknown", () => {
  const { oack } = negotiate(
    new Map([
      ["tsize", "0"],
      ["foo", "1"],
      ["windowsize", "8"],
      ["blksize", "1024"],
    ]),
    5,
  );
  assert.equal(
    [...oack],
    [
      ["tsize", "5"],
      ["windowsize", "8"],
      ["blksize", "1024"],
    ],
  );
});

test("a window of big blocks is lowered to what a receive buffer holds", () => {
  const caps = { blksizeBytes: 65464, windowsize: 64, windowBytes: 128 * 1024 };
  assert.equal(ask({ blksize: "65464", windowsize: "64" }, 1000, caps).oack, { blksize: "65464", windowsize: "2" });
  assert.is(ask({ blksize: "65464", windowsize: "64" }, 1000, { ...caps, windowBytes: 1 }).windowsize, 1);
});

test("a client's timeout is kept in milliseconds, and only one of RFC 2349's", () => {
  const timeoutMs = (timeout: string) => ask({ timeout }).timeoutMs;
  assert.equal(["1", "7", "255", "0", "256", "x", ""].map(timeoutMs), [
    1_000,
    7_000,
    255_000,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});

test("sizes and windows are taken to their bounds and no further", () => {
  const of = (options: Record<string, string>) => {
    const { blksize, windowsize } = ask(options, 1_000, { blksizeBytes: 70_000, windowsize: 70_000, windowBytes: 1e9 });
    return [blksize, windowsize];
  };
  for (const [blksize, is] of [
    ["7", 512],
    ["8", 8],
    ["65464", 65_464],
    ["65465", 65_465],
    ["99999", 70_000],
    ["4294967295", 70_000],
    ["4294967296", 512],
    ["00000000000000008", 512],
  ] as const)
    assert.equal(of({ blksize }), [is, 1], blksize);
  for (const [windowsize, is] of [
    ["0", 1],
    ["1", 1],
    ["65535", 65_535],
    ["65536", 1],
  ] as const)
    assert.equal(of({ windowsize }), [512, is], windowsize);
  const window = (windowBytes: number) =>
    ask({ blksize: "1000", windowsize: "9" }, 1, { blksizeBytes: 1_000, windowsize: 8, windowBytes }).windowsize;
  assert.equal([window(1), window(999), window(2_000), window(2_999), window(1e6)], [1, 1, 2, 2, 8]);
  assert.equal(DEFAULT_CAPS, { blksizeBytes: 1_468, windowsize: 64, windowBytes: 131_072 });
});

test.run();
