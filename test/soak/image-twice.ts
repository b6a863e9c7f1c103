// The boot image built twice from nothing, each time with a cache of its own and the archives asked anew: kernel, initrd and root come
// out byte for byte the same, or "same inputs, same hashes" is only the name of a cache. Needs root and some 6 GB for a while.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { exec } from "#lib/exec.ts";
import type { Soak } from "./soaks.ts";

const MAIN = fileURLToPath(new URL("../../images/main.ts", import.meta.url));
const BUILD_MS = 1_800_000;
const PARTS = ["kernel", "initrd", "squashfs"] as const;

interface Manifest {
  id: string;
  inputs: string;
  kernel: { sha256: string };
  initrd: { sha256: string };
  squashfs: { sha256: string; sizeBytes: number };
}

export const imageTwice: Soak = {
  what: "the boot image built twice from nothing is the same bytes",
  covers: ["images/host", "images/config.ts", "images/installers.ts"],
  async run({ signal, say }) {
    const directory = await mkdtemp(join(process.env["FLYNN_SOAK_DIR"] ?? tmpdir(), "flynn-image-twice-"));
    try {
      const build = async (name: string): Promise<Manifest> => {
        say(`building ${name}`);
        const at = (part: string) => join(directory, name, part);
        const flags = ["--out", at("out"), "--cache", at("cache"), "--signing-key", at("key")];
        const { stdout } = await exec([process.execPath, MAIN, "build", ...flags], { timeoutMs: BUILD_MS, signal });
        const { directory: made } = JSON.parse(stdout) as { directory: string };
        const manifest = JSON.parse(await readFile(join(made, "manifest.json"), "utf8")) as Manifest;
        // Its parts are told apart by their hashes alone: the trees need not stay.
        await rm(join(directory, name), { recursive: true, force: true });
        return manifest;
      };
      const one = await build("one");
      const two = await build("two");
      if (one.inputs !== two.inputs) throw new Error("the archives changed between the two builds: run it again");
      const differ = PARTS.filter((part) => one[part].sha256 !== two[part].sha256);
      if (differ.length > 0) throw new Error(`two builds of the same inputs differ in ${differ.join(", ")}`);
      return { done: true, figures: { image: one.id, rootMiB: Math.round(one.squashfs.sizeBytes / 1024 ** 2) } };
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};
