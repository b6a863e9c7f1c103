// time limit: 180 s
// `control/main.ts restore` and `backup` as an operator runs them.
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ExecError, exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { lastBackup } from "../../control/last-backup.ts";
import { openSecrets, SEALING_DIRECTORY } from "../../control/secrets.ts";
import { openStore } from "../../control/store/store.ts";
import { rejection } from "../contract/log.ts";
import { inScratch } from "./store/scratch.ts";

const MAIN = fileURLToPath(new URL("../../control/main.ts", import.meta.url));

const control = (args: string[]) => exec([process.execPath, MAIN, ...args]);

test("backup and restore from the command line: a lost directory comes back, wrong words are refused with the usage", () =>
  inScratch(async (stateDir) => {
    const directory = join(stateDir, "store");
    const config = join(stateDir, "control.json");
    const out = join(stateDir, "backup");
    await writeFile(config, JSON.stringify({ stateDir }));
    const store = await openStore({ directory, log: silentLog() });
    await store.commit({ actor: "test", mutations: [{ key: "apps/a", value: { name: "a" } }] });
    const backup = (await control(["backup", "--config", config, "--out", out])).stdout;
    assert.match(backup, "up to record 1");
    assert.equal((await lastBackup(stateDir))?.problem, undefined);
    assert.is((await lastBackup(stateDir))?.out, out);
    const nowhere = join(stateDir, "not-there", "backup");
    const failed = await control(["backup", "--config", config, "--out", nowhere]).catch((error: ExecError) => error);
    assert.ok("exitCode" in failed && failed.exitCode !== 0, "there is no such folder");
    assert.match((await lastBackup(stateDir))!.problem!, /not-there/);
    assert.match(backup, /not in it, and needed .*directories ca .*and sealing .*keep both, apart from the backup/);
    assert.match(backup, /copy the directory git beside the state/);
    await store.close();
    assert.match((await control(["restore", "--config", config])).stdout, "opens without loss; nothing was changed");
    await rm(directory, { recursive: true });
    const { stdout } = await control(["restore", "--config", config, "--from", out]);
    assert.match(stdout, "1 entries as of record 1");
    assert.match(stdout, "no record is known to be lost");
    assert.match(stdout, /put the directory sealing that was kept with the backup into/, "its key is not there");
    assert.match(stdout, /put the directory ca that was kept with the backup into/, "nor is the CA's");
    await openSecrets(join(stateDir, SEALING_DIRECTORY));
    await rm(directory, { recursive: true });
    const withKey = await control(["restore", "--config", config, "--from", out]);
    assert.not.match(withKey.stdout, "put the directory sealing");
    const again = await openStore({ directory, log: silentLog() });
    assert.equal(again.get("apps/a")?.value, { name: "a" });
    await again.close();
    for (const args of [
      ["backup", "--config", config],
      ["restore", "--form", out],
    ]) {
      const failed = (await rejection(control(args))) as ExecError;
      assert.match(failed.stderr, "usage: main.ts restore");
    }
  }));

test.run();
