// The new file system's bytes are ours to choose: a boot image with other defaults of mke2fs makes the same ones.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { makeImage } from "../../../hostd/state-disk/image.ts";
import { GIB, makeDisk, signal, withFolder } from "./fixture.ts";

const UUID = "12345678-1234-8234-8234-123456789abc";

test("an image has the features that are written down, and no others that a distribution may add", () =>
  withFolder(async (folder) => {
    const image = await makeImage({ directory: folder, sizeBytes: GIB, fileSystem: UUID, signal });
    try {
      const copy = await makeDisk(join(folder, "copy"), {
        sizeBytes: GIB,
        content: await Promise.all(
          image.extents.map(async ({ at, length }) => {
            const bytes = Buffer.alloc(length);
            await image.read(bytes, at);
            return [at, bytes] as const;
          }),
        ),
      });
      const { stdout } = await exec(["dumpe2fs", "-h", copy.path]);
      const fieldOf = (name: string) => new RegExp(`^${name}:\\s+(.*)$`, "m").exec(stdout)?.[1];
      assert.is(
        fieldOf("Filesystem features"),
        "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file dir_nlink extra_isize metadata_csum",
      );
      assert.equal([fieldOf("Block size"), fieldOf("Inode size"), fieldOf("Inode count")], ["4096", "256", "65536"]);
    } finally {
      await image.close();
    }
  }));

test.run();
