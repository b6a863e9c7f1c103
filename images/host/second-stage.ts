// A Debian tree of an architecture that this machine cannot run. The archives are fetched and unpacked by this machine's programs; the
// packages' scripts run when all of their files are there, and the tree's own dpkg configures them, each program emulated (lend.ts).
import { createReadStream, createWriteStream } from "node:fs";
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
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
  const scripts = join(root, SCRIPTS);
  await mkdir(scripts, { recursive: true });
  for (const name of archives) await withoutScript(join(root, folder, name), { scripts, workDirectory, run });
  const { environment, signal } = run;
  const database = ["dpkg", `--root=${root}`, `--admindir=${root}/var/lib/dpkg`];
  const forced = ["architecture", "depends"].map((each) => `--force-${each}`);
  // What mmdebstrap was told to leave out.
  const left = (await readFile(join(root, "etc/dpkg/dpkg.cfg.d/99mmdebstrap"), "utf8")).match(/^[a-z].*$/gm) ?? [];
  const rules = left.map((rule) => `--${rule}`);
  const paths = archives.map((name) => join(root, folder, name));
  await exec([...database, ...forced, ...rules, "--unpack", ...paths], {
    env: environment,
    signal,
    timeoutMs: 900_000,
  });
  // It takes away what is not of the architecture, and so the way to the libraries of the programs that are lent.
  await rm(join(root, "var/lib/dpkg/info/usr-is-merged.postinst"), { force: true });
  const policy = join(root, "usr/sbin/policy-rc.d");
  await writeFile(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  // The image's initrd is made when its own files are there.
  const inside = { ...run, environment: { ...environment, INITRD: "No" }, timeoutMs: 1_800_000 };
  say("configuring them, emulated");
  await inTree(root, ["sh", "-c", CONFIGURE, `/${SCRIPTS}`], inside);
  for (const path of [policy, scripts, ...paths]) await rm(path, { recursive: true });
  await rm(join(root, "var/lib/apt/lists"), { recursive: true, force: true });
}

const SCRIPTS = "var/cache/preinst";

/**
 * base-passwd's first: the others' names of users are in its file. Owners of programs that dpkg itself sets at last: it set them of what
 * stands before the programs.
 */
const CONFIGURE = `cd "$0" && for each in base-passwd $(ls)
do
	[ -x "$each" ] || continue
	DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE="$each" DPKG_ROOT= "./$each" install || exit 1
	chmod a-x "$each"
done
dpkg --configure --pending || exit 1
while read -r owner group mode path
do
	chown "$owner:$group" "$path" && chmod "$mode" "$path" || exit 1
done < /var/lib/dpkg/statoverride`;

/** The same package without its script that runs before its files are there; that is kept in `scripts`. */
async function withoutScript(
  path: string,
  { scripts, workDirectory, run }: { scripts: string; workDirectory: string; run: Run },
): Promise<void> {
  const shell = (command: string, ...argv: string[]) =>
    exec(["sh", "-c", command, ...argv], { env: run.environment, signal: run.signal, timeoutMs: 300_000 });
  const control = join(workDirectory, "control");
  const parts = ["control.tar", "data.tar"].map((name) => ({ name, file: join(workDirectory, name) }));
  await shell('dpkg-deb --control "$0" "$1"', path, control);
  const script = join(control, "preinst");
  if (await stat(script).catch(() => undefined)) {
    const name = path.slice(path.lastIndexOf("/") + 1).split("_")[0]!;
    await copyFile(script, join(scripts, name));
    await rm(script);
    await shell('tar --create --file "$0" --directory "$1" .', parts[0]!.file, control);
    await shell('dpkg-deb --fsys-tarfile "$0" > "$1"', path, parts[1]!.file);
    const plain = join(workDirectory, "plain.deb");
    await writeFile(plain, `!<arch>\n${member("debian-binary", 4)}2.0\n`);
    for (const { name: part, file } of parts) {
      // Tar archives are whole blocks: no byte is needed to make a member even.
      await writeFile(plain, member(part, (await stat(file)).size), { flag: "a" });
      await pipeline(createReadStream(file), createWriteStream(plain, { flags: "a" }), { signal: run.signal });
      await rm(file);
    }
    await rename(plain, path);
  }
  await rm(control, { recursive: true });
}

/** A member's head in an archive of ar(5). */
function member(name: string, sizeBytes: number): string {
  const fields = [name.padEnd(16), "0".padEnd(12), "0".padEnd(6), "0".padEnd(6), "100644".padEnd(8)];
  return `${fields.join("")}${String(sizeBytes).padEnd(10)}\`\n`;
}
