// Loaded first in a mutant's own namespaces: loopback up, and nothing writable but the copy of the tree (the working directory) and an
// empty /tmp. What a broken program removes or writes to is then nobody's.
import { execFileSync } from "node:child_process";

const copy = process.cwd();
const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: "inherit" });
run("ip", "link", "set", "lo", "up");
run("mount", "--bind", copy, copy);
// Control takes nothing in with less than 1 GiB of its disk left.
run("mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", "/tmp");
run("mount", "-o", "remount,bind,ro", "/");
process.chdir(copy); // the writable one, which now lies over the old
