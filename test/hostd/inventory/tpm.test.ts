// tpm2-tools against an emulated TPM (swtpm on a unix socket): what the agent names a TPM by, and that control takes its quote.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { readQuote } from "../../../control/identity/tpm.ts";
import { quote, readTpmId } from "../../../hostd/inventory/tpm.ts";

const TOKEN = "fjg_grant.signature";
const signal = AbortSignal.timeout(100_000);

/** A TPM with the state of `directory`, switched on for as long as the work takes. */
async function withTpm<T>(directory: string, work: (tcti: string) => Promise<T>): Promise<T> {
  const socket = join(directory, "sock");
  await mkdir(join(directory, "state"), { recursive: true });
  const argv = ["--tpmstate", `dir=${join(directory, "state")}`, "--server", `type=unixio,path=${socket}`];
  const options = ["--ctrl", `type=unixio,path=${socket}.ctrl`, "--flags", "not-need-init,startup-clear"];
  const tpm = spawn("swtpm", ["socket", "--tpm2", ...argv, ...options], { stdio: "ignore" });
  const ended = once(tpm, "exit");
  try {
    await until(() => existsSync(socket) && existsSync(`${socket}.ctrl`), { what: "swtpm", timeoutMs: 20_000 });
    return await work(`swtpm:path=${socket}`);
  } finally {
    tpm.kill("SIGKILL");
    await ended;
    await rm(socket, { force: true });
    await rm(`${socket}.ctrl`, { force: true });
  }
}

test("a TPM is the same after a power cycle, another is another, and its quote is good for one token alone", async () => {
  const root = await mkdtemp(join(tmpdir(), "flynn-swtpm-"));
  try {
    const [one, two] = [join(root, "one"), join(root, "two")];
    const first = await withTpm(one, (tcti) => readTpmId({ signal, tcti }));
    const made = await withTpm(one, (tcti) => quote(TOKEN, { signal, tcti }));
    const other = await withTpm(two, (tcti) => readTpmId({ signal, tcti }));
    assert.match(first, /^[0-9a-f]{64}$/);
    assert.equal(readQuote(made, TOKEN), { tpmId: first });
    assert.is.not(other, first);
    assert.ok("wrong" in readQuote(made, "fjg_other.signature"));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

test("without a TPM there is an error that says what could not be done", async () => {
  const failed = await readTpmId({ signal, tcti: "device:/dev/no-tpm" }).catch((error: unknown) => String(error));
  assert.match(failed, /tpm2_createprimary/);
});

test.run();
