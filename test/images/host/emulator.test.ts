// An image of another architecture: how its programs are run, and what is said where they cannot be.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { emulatorOf, thisArchitecture } from "../../../images/host/emulator.ts";

interface Machine {
  programs: readonly string[];
  /** What the kernel says of its interpreter for arm64; undefined: this kernel has no such table. */
  binfmt?: string;
}

async function asked(architecture: "amd64" | "arm64", { programs, binfmt }: Machine): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-emulator-"));
  try {
    const bin = join(directory, "bin");
    await mkdir(bin);
    for (const name of programs) await writeFile(join(bin, name), "#!/bin/sh\n", { mode: 0o755 });
    if (binfmt !== undefined) await writeFile(join(directory, "qemu-aarch64"), binfmt);
    const found = await emulatorOf({ architecture, path: `/nowhere:${bin}`, machine: "amd64", binfmt: directory });
    return found === undefined ? "by themselves" : found.slice(directory.length);
  } catch (error) {
    return (error as Error).message;
  } finally {
    await rm(directory, { recursive: true });
  }
}

const QEMU = ["qemu-aarch64-static"];

test("a machine's own architecture, and one that its kernel has an interpreter for, need no emulator", async () => {
  assert.is(await asked("amd64", { programs: [] }), "by themselves");
  assert.is(
    await asked("arm64", { programs: [], binfmt: "enabled\ninterpreter /usr/libexec/qemu\n" }),
    "by themselves",
  );
});

test("without that, programs are started under QEMU by the build itself", async () => {
  assert.is(await asked("arm64", { programs: QEMU }), "/bin/qemu-aarch64-static");
  assert.is(await asked("arm64", { programs: QEMU, binfmt: "disabled\n" }), "/bin/qemu-aarch64-static");
});

test("what is missing for that is named, as what to install", async () => {
  const missing = await asked("arm64", { programs: [] });
  assert.match(missing, /an arm64 image on this amd64 machine/);
  assert.match(missing, /apt-get install qemu-user-static, or build on an arm64 machine$/);
});

test("an image is of the architecture of the machine that builds it, unless another is asked for", () => {
  assert.is(thisArchitecture("x64"), "amd64");
  assert.is(thisArchitecture("arm64"), "arm64");
});

test.run();
