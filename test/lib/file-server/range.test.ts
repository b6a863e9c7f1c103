// RFC 9110 section 14: which bytes a request asks for.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseRange } from "#lib/file-server/range.ts";

const said = (header: string | undefined, sizeBytes = 100): string => {
  const range = parseRange(header, sizeBytes);
  return range.kind === "part" ? `${range.first}-${range.last}` : range.kind;
};

test("a part is from and to, cut at the end; from alone goes to the end, to alone is the last bytes", () => {
  for (const [header, answer] of [
    ["bytes=0-0", "0-0"],
    ["bytes=10-19", "10-19"],
    ["bytes=99-99", "99-99"],
    ["bytes=10-1000", "10-99"],
    ["bytes=10-99", "10-99"],
    ["bytes=10-100", "10-99"],
    ["bytes=0-", "0-99"],
    ["bytes=99-", "99-99"],
    ["bytes=-1", "99-99"],
    ["bytes=-100", "0-99"],
    ["bytes=-1000", "0-99"],
    [" bytes=1-2 ", "1-2"],
  ] as const)
    assert.is(said(header), answer, header);
});

test("what lies past the end cannot be given; what is no range is the whole", () => {
  for (const header of ["bytes=100-", "bytes=100-200", "bytes=-0"]) assert.is(said(header), "unsatisfiable", header);
  for (const header of [undefined, "", "bytes=", "bytes=-", "bytes=5-4", "bytes=200-100", "bytes=0-1,3-4", "items=0-1"])
    assert.is(said(header), "whole", header);
  for (const header of [
    "bytes=a-b",
    "bytes=0-1x",
    "x bytes=0-1",
    "bytes=1",
    `bytes=0-${"9".repeat(16)}`,
    `bytes=${"0".repeat(16)}-`,
  ])
    assert.is(said(header), "whole", header);
  assert.is(said(`bytes=0-${"9".repeat(15)}`), "0-99");
});

test("an empty file has no part", () => {
  for (const header of ["bytes=0-", "bytes=0-0", "bytes=-1"]) assert.is(said(header, 0), "unsatisfiable", header);
});

test("property: a part is within the file, and is what was asked for as far as it is there", () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(50), fc.integer({ min: 1, max: 50 }), (first, last, size) => {
      const range = parseRange(`bytes=${first}-${last}`, size);
      const asked = Array.from({ length: size }, (_, n) => n).filter((n) => n >= first && n <= last);
      if (range.kind === "part") assert.equal([range.first, range.last], [asked[0], asked.at(-1)]);
      else assert.equal([asked, range.kind], [[], last < first ? "whole" : "unsatisfiable"]);
    }),
  );
});

test.run();
