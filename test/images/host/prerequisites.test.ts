import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { programs, requirePrograms } from "../../../images/host/prerequisites.ts";

async function pathWithout(missing: readonly string[], probe: (path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-path-"));
  try {
    for (const name of Object.keys(programs).filter((each) => !missing.includes(each))) {
      await writeFile(join(directory, name), "#!/bin/sh\n", { mode: 0o755 });
    }
    await probe(`/nowhere:${directory}`);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function refusal(path: string): Promise<string> {
  return await requirePrograms(path).then(
    () => "",
    (error: Error) => error.message,
  );
}

test("a missing program is named with its Debian package and the command that installs it", async () => {
  await pathWithout(["mksquashfs", "mmdebstrap"], async (path) => {
    assert.match(
      await refusal(path),
      /mksquashfs \(Debian package squashfs-tools\).*apt-get install squashfs-tools mmdebstrap$/,
    );
  });
});

test("with all programs there only root is asked for", async () => {
  await pathWithout([], async (path) => {
    assert.match(await refusal(path), process.getuid?.() === 0 ? /^$/ : /needs root/);
  });
});

test.run();
