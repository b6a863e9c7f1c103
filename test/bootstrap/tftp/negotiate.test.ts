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

test.run();
