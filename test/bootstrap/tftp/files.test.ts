import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fixedFiles, normaliseName } from "../../../bootstrap/tftp/files.ts";

test("names are normalised as firmware writes them, and never lead out", () => {
  const table: [string, string | undefined][] = [
    ["ipxe.efi", "ipxe.efi"],
    ["/ipxe.efi", "ipxe.efi"],
    ["//boot///ipxe.efi", "boot/ipxe.efi"],
    ["\\boot\\ipxe.efi", "boot/ipxe.efi"],
    ["./boot/./ipxe.efi", "boot/ipxe.efi"],
    ["ipxe.efi\xff", "ipxe.efi"],
    ["ipxe.efi\xff\xff \t", "ipxe.efi"],
    ["pxelinux.cfg/01-52-54-00-12-34-56", "pxelinux.cfg/01-52-54-00-12-34-56"],
    ["a..b", "a..b"],
    ["..", undefined],
    ["../etc/passwd", undefined],
    ["boot/../../etc/passwd", undefined],
    ["boot\\..\\..\\etc\\passwd", undefined],
    ["/..\xff", undefined],
    ["", undefined],
    ["/", undefined],
    ["\xff", undefined],
  ];
  for (const [asked, name] of table) assert.is(normaliseName(asked), name, JSON.stringify(asked));
});

test("a normalised name has no empty, dot or dot-dot segment, whatever was asked", () => {
  void fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (asked) => {
      for (const segment of normaliseName(asked)?.split("/") ?? []) assert.not(["", ".", ".."].includes(segment));
    }),
  );
});

test("a fixed map serves its names and no other, prototype keys included", async () => {
  const files = fixedFiles([["/boot/a", Buffer.from("abc")]]);
  const client = { address: "127.0.0.1", port: 1 };
  const file = await files.open("boot/a", client);
  assert.is(file?.sizeBytes, 3);
  assert.is(String(await file?.read(1, 2)), "bc");
  for (const name of ["a", "boot", "__proto__", "constructor", "toString", "boot/A"])
    assert.is(files.open(name, client), undefined, name);
  assert.throws(() => fixedFiles([["../x", Buffer.alloc(0)]]), /can ask for/);
});

test.run();
