// Runs a tree's programs that this machine cannot start: each is, in a mount namespace of its own, a script that starts the real one
// under an emulator. So whoever starts it by its path gets it, and nothing is asked of the kernel. Programs that scripts start by the
// thousand are meanwhile this machine's own of the same names.
import { glob, lstat, mkdir, mkdtemp, open, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { thisArchitecture } from "./emulator.ts";
import type { Architecture } from "./recipe.ts";

/** Minutes would be hours without; nothing that they write is of their architecture. */
const LENT = new Set([
  ...["bash", "cpio", "dash", "find", "gawk", "grep", "gzip", "kmod", "lz4", "mawk", "sed", "tar", "xargs"],
  ...["basename", "cat", "cmp", "cut", "date", "dd", "dirname", "env", "expr", "getopt"],
  ...["perl", "python3.11", "ssh-keygen", "update-alternatives"],
  ...["head", "id", "install", "ln", "ls", "md5sum", "mkdir", "mktemp", "mv", "readlink", "realpath", "rm", "rmdir"],
  ...["sort", "stat", "tail", "tee", "test", "touch", "tr", "true", "uniq", "wc"],
]);

/** Lent too, and given the real programs. */
const FILES = new Set(["chgrp", "chmod", "chown", "cp"]);

/** Where programs of an architecture find their libraries, and `e_machine` of their ELF heads. */
const KINDS: Readonly<Record<Architecture, { machine: number; libraries: string; loader: string }>> = {
  amd64: { machine: 62, libraries: "usr/lib/x86_64-linux-gnu", loader: "lib64/ld-linux-x86-64.so.2" },
  arm64: { machine: 183, libraries: "usr/lib/aarch64-linux-gnu", loader: "lib/ld-linux-aarch64.so.1" },
};

/** In the namespace `/mnt/tree` is the tree with nothing before its programs, and `/mnt/usr` this machine's. */
const scriptsFor = (tree: Architecture) => ({
  program: `#!/mnt/usr/bin/dash
exec /mnt/emulator -0 "$0" "/mnt/tree$(/mnt/usr/bin/readlink -f "$0")" "$@"
`,
  // What is copied, or whose owner is changed, is the real program.
  file: `#!/mnt/usr/bin/dash
for each
do
	shift
	case "$each" in
	/usr/* | /bin/* | /sbin/* | /lib*) [ ! -e "/mnt/tree$each" ] || each="/mnt/tree$each" ;;
	esac
	set -- "$@" "$each"
done
exec "/mnt/usr/bin/\${0##*/}" "$@"
`,
  ldd: `#!/mnt/usr/bin/dash
exec /mnt/emulator "/${KINDS[tree].loader}" --list "/mnt/tree$(/mnt/usr/bin/readlink -f "$1")"
`,
});

/** Of this machine's libraries not those that a script looks for everywhere, to copy them. */
const ENTER = `tree="$0" emulator="$1" lending="$2" libraries="$3"; shift 3
mount -t tmpfs lending "$tree/mnt" && cp "$lending"/* "$tree/mnt" && cp "$emulator" "$tree/mnt/emulator" || exit 1
mkdir "$tree/mnt/tree" "$tree/mnt/usr" && mount -o bind,ro /usr "$tree/mnt/usr" && mount -o bind "$tree" "$tree/mnt/tree" || exit 1
mount -t tmpfs libraries "$tree/$libraries" || exit 1
ls -d "/$libraries"/* | grep -v /libnss_ | sed s,^,/mnt, | xargs ln -s -t "$tree/$libraries" || exit 1
mount --rbind /proc "$tree/proc" && mount --fstab "$lending/fstab" --all || exit 1
exec chroot "$tree" "$@"`;

/** Calls back with what to start in place of `argv`, while what that needs is there. */
export async function lending<T>(
  tree: string,
  argv: readonly string[],
  emulator: string,
  run: (argv: string[]) => Promise<T>,
): Promise<T> {
  const machine = thisArchitecture();
  const own = KINDS[machine];
  const other: Architecture = machine === "amd64" ? "arm64" : "amd64";
  const scripts = await mkdtemp(join(tmpdir(), "flynn-lending-"));
  const made: (() => Promise<void>)[] = [() => rm(scripts, { recursive: true })];
  try {
    await mkdir(join(tree, "mnt"), { recursive: true });
    for (const [name, text] of Object.entries(scriptsFor(other)))
      await writeFile(join(scripts, name), text, { mode: 0o755 });
    // This machine's programs find their libraries as in a tree of several architectures.
    const top = own.loader.slice(0, own.loader.indexOf("/"));
    for (const folder of [own.libraries, `usr/${top}`]) {
      const path = join(tree, folder);
      if (await lstat(path).catch(() => undefined)) continue;
      await mkdir(path);
      made.push(() => rmdir(path));
    }
    const links = { [top]: `usr/${top}`, [own.loader]: `/${own.libraries}/${own.loader.slice(top.length + 1)}` };
    for (const [name, target] of Object.entries(links)) {
      const path = join(tree, name);
      if (await lstat(path).catch(() => undefined)) continue;
      await symlink(target, path);
      made.push(() => rm(path));
    }
    const mounts = [`${tree}/mnt/ldd ${tree}/usr/bin/ldd`];
    for (const path of await programsOf(tree, KINDS[other].machine)) {
      const name = path.slice(path.lastIndexOf("/") + 1);
      const lent = LENT.has(name) && (await machineOf(`/${path}`)) === own.machine;
      // As /mnt/usr it is read-only: nothing in the tree changes this machine.
      const stands = lent ? path : FILES.has(name) ? "file" : "program";
      mounts.push(`${tree}/mnt/${stands} ${join(tree, path)}`);
    }
    await writeFile(join(scripts, "fstab"), mounts.map((mount) => `${mount} none bind 0 0\n`).join(""));
    return await run(["sh", "-c", ENTER, tree, emulator, scripts, own.libraries, ...argv]);
  } finally {
    for (const undo of made.reverse()) await undo();
  }
}

async function programsOf(tree: string, machine: number): Promise<string[]> {
  const found: string[] = [];
  for await (const path of glob("usr/{bin,sbin,lib,libexec}/**", { cwd: tree })) {
    if (/\.so(\.|$)|\.ko$/.test(path) || path.startsWith("usr/lib/klibc")) continue;
    const status = await lstat(join(tree, path));
    if (!status.isFile() || (status.mode & 0o111) === 0) continue;
    if ((await machineOf(join(tree, path))) === machine) found.push(path);
  }
  return found.sort();
}

/** `e_machine` of an ELF program. */
async function machineOf(path: string): Promise<number | undefined> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return undefined;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(20), 0, 20, 0);
    return bytesRead === 20 && buffer.toString("latin1", 0, 4) === "\x7fELF" ? buffer.readUInt16LE(18) : undefined;
  } finally {
    await file.close();
  }
}
