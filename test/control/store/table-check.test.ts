// LevelDB's tables, written by LevelDB itself and then damaged.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { Level } from "level";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32c, damagedTable, tableDamage } from "../../../control/store/table-check.ts";
import { inScratch } from "./scratch.ts";

/** A table of each kind of block: with much to compress, and with nothing. */
async function tablesIn(directory: string, compression: boolean): Promise<string[]> {
  const db = new Level(directory, { compression });
  for (let n = 0; n < 2_000; n++) {
    const text =
      n % 2 === 0
        ? "much of the same ".repeat(9)
        : crc32c(Buffer.from(`${n}`))
            .toString(36)
            .repeat(3);
    await db.put(`a key with a long beginning ${String(n).padStart(6, "0")}`, text);
  }
  await db.close();
  await db.open(); // what was in its log is a table from now on
  await db.close();
  return (await readdir(directory)).filter((name) => name.endsWith(".ldb")).map((name) => join(directory, name));
}

test("the checksum is CRC-32C", () => {
  // RFC 3720, appendix B.4.
  assert.is(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  assert.is(crc32c(Buffer.alloc(32, 255)), 0x62a8ab43);
  assert.is(crc32c(Buffer.from(Array.from({ length: 32 }, (_, n) => n))), 0x46dd794e);
  assert.is(crc32c(Buffer.from("123456789")), 0xe3069283);
});

for (const compression of [true, false])
  test(`tables ${compression ? "with" : "without"} compression verify as LevelDB wrote them, and no changed byte passes`, () =>
    inScratch(async (scratch) => {
      const directory = join(scratch, "level");
      const tables = await tablesIn(directory, compression);
      assert.ok(tables.length > 0);
      assert.is(await damagedTable(directory), undefined);
      const sound = await readFile(tables[0]!);
      const bodyBytes = sound.length - 48; // the footer is mostly filling
      await fc.assert(
        fc.property(fc.nat(bodyBytes - 1), fc.nat(7), (at, bit) => {
          const table = Buffer.from(sound);
          table[at]! ^= 1 << bit;
          assert.type(tableDamage(table), "string", `byte ${at} of ${bodyBytes}`);
        }),
        { numRuns: 300 },
      );
      await fc.assert(
        fc.property(fc.nat(sound.length - 1), (length) =>
          assert.type(tableDamage(sound.subarray(0, length)), "string", `cut at ${length}`),
        ),
        { numRuns: 200 },
      );
      await writeFile(tables[0]!, sound.fill(0, 4_096, 8_192));
      assert.match((await damagedTable(directory))!, /^table \d+\.ldb: the block at \d+ does not match its checksum$/);
    }));

test("bytes of any kind are judged in words and in time", async () => {
  const footer = (bytes: Uint8Array) =>
    Buffer.concat([bytes, Buffer.alloc(40), Buffer.from("57fb808b247547db", "hex")]);
  await fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, ended) => {
      const said = tableDamage(ended ? footer(bytes) : Buffer.from(bytes));
      assert.type(said, "string");
    }),
    { numRuns: 1_000 },
  );
});

test.run();
