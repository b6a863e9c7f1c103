// A Debian tree of an architecture that this machine runs under an emulator only. The archives are fetched and their contents laid out
// natively, so that there is a dpkg to run; then the tree's own dpkg installs them as on any machine, program by program emulated.
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { exec } from "#lib/exec.ts";
import { type InsideOptions, inTree } from "./inside.ts";

type Run = Omit<InsideOptions, "timeoutMs" | "onLine">;

/** Of mmdebstrap: all packages laid out, their archives kept, nothing of them run. */
export const FIRST_STAGE = [
  "--variant=extract",
  "--include=?essential",
  "--include=apt",
  // As Debian's own installer makes it; a tree that was filled before cannot be merged without running a program of it.
  '--setup-hook=for each in bin lib sbin; do mkdir -p "$1/usr/$each" && ln -s "usr/$each" "$1/$each"; done',
  "--skip=essential/unlink,download/empty,cleanup/apt",
  // Where it is, a script asks each of its 500 lines in turn, for a quarter of an hour.
  "--dpkgopt=path-exclude=/usr/share/i18n/SUPPORTED",
];

export async function secondStage(options: {
  root: string;
  workDirectory: string;
  say: (line: string) => void;
  run: Run;
}): Promise<void> {
  const { root, workDirectory, say, run } = options;
  const folder = "var/cache/apt/archives";
  const archives = (await readdir(join(root, folder))).filter((name) => name.endsWith(".deb")).sort();
  say(`unpacking ${archives.length} packages`);
  for (const name of archives) await storePlain(join(root, folder, name), workDirectory, run);
  const policy = join(root, "usr/sbin/policy-rc.d");
  await writeFile(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  // proot ends itself when systemd-tmpfiles makes a link; what that makes is made at each boot anyway.
  const stubs = "usr/lib/second-stage";
  await mkdir(join(root, stubs), { recursive: true });
  await writeFile(join(root, stubs, "systemd-tmpfiles"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  const environment = { ...run.environment, PATH: `/${stubs}:${run.environment["PATH"]}` };
  const dpkg = async (...argv: string[]) => {
    await inTree(root, ["dpkg", ...argv], { ...run, environment, timeoutMs: 3_600_000 });
  };
  say("unpacking them again by the tree's own dpkg, emulated");
  await dpkg("--force-depends", "--unpack", ...archives.map((name) => `/${folder}/${name}`));
  say("configuring them, emulated");
  // A script that makes a file by way of a temporary one may not see it under proot; it is there the second time.
  await dpkg("--configure", "--pending").catch(() => dpkg("--configure", "--pending"));
  for (const path of [policy, ...archives.map((name) => join(root, folder, name))]) await rm(path);
  await rm(join(root, stubs), { recursive: true });
  await rm(join(root, "var/lib/apt/lists"), { recursive: true, force: true });
}

/** The same package, not compressed: what one program undoes here in seconds takes an emulated one minutes. */
async function storePlain(path: string, workDirectory: string, run: Run): Promise<void> {
  const parts = [
    { name: "control.tar", option: "--ctrl-tarfile", file: join(workDirectory, "control.tar") },
    { name: "data.tar", option: "--fsys-tarfile", file: join(workDirectory, "data.tar") },
  ];
  const plain = join(workDirectory, "plain.deb");
  await writeFile(plain, `!<arch>\n${member("debian-binary", 4)}2.0\n`);
  for (const { name, option, file } of parts) {
    await exec(["sh", "-c", 'exec dpkg-deb "$0" "$1" > "$2"', option, path, file], {
      env: run.environment,
      signal: run.signal,
      timeoutMs: 300_000,
    });
    // Tar archives are whole blocks: no byte is needed to make a member even.
    const { size } = await stat(file);
    await writeFile(plain, member(name, size), { flag: "a" });
    await pipeline(createReadStream(file), createWriteStream(plain, { flags: "a" }), { signal: run.signal });
    await rm(file);
  }
  await rename(plain, path);
}

/** A member's head in an archive of ar(5). */
function member(name: string, sizeBytes: number): string {
  const fields = [name.padEnd(16), "0".padEnd(12), "0".padEnd(6), "0".padEnd(6), "100644".padEnd(8)];
  return `${fields.join("")}${String(sizeBytes).padEnd(10)}\`\n`;
}
