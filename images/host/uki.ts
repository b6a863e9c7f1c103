// A unified kernel image: kernel, initrd and command line as one EFI program, signed as a whole, so that firmware with Secure Boot and
// the signer's certificate starts this and nothing else. It takes no command line from outside; its initrd asks the boot server instead.
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { onPath } from "./emulator.ts";
import type { Architecture } from "./recipe.ts";

export interface UkiKeys {
  /** PEM files. */
  keyFile: string;
  certificateFile: string;
}

export interface UkiOptions {
  kernelFile: string;
  initrdFile: string;
  cmdline: readonly string[];
  /** `http://10.0.0.1:7780`: whom its initrd asks; without, the server that DHCP names (next-server). */
  bootServer?: string | undefined;
  keys: UkiKeys;
  output: string;
  workDirectory: string;
  environment: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

const STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/** Where the stub's own sections have ended for certain; the rest follows, each from a whole MiB on. */
const FIRST_SECTION = 0x200_0000;
const SECTION_STEP = 1 << 20;
/** In place of the root's URL; the initrd knows it (9991-flynn-verified-fetch.sh). */
const ASKED_FETCH = "fetch=http://boot-server/root.squashfs";

/** What is missing here for such an image, before anything is built. */
export async function requireUki(architecture: Architecture, path: string): Promise<void> {
  if (architecture !== "amd64")
    throw new Error(`a signed unified kernel image is made for amd64 only, not ${architecture}`);
  const missing = [
    ...((await onPath("objcopy", path)) === undefined ? ["binutils"] : []),
    ...((await onPath("sbsign", path)) === undefined ? ["sbsigntool"] : []),
    ...((await stat(STUB).catch(() => undefined)) === undefined ? ["systemd-boot-efi"] : []),
  ];
  if (missing.length > 0)
    throw new Error(`a signed unified kernel image needs more; install with: apt-get install ${missing.join(" ")}`);
}

/** A key and its certificate, made when both are missing: ten years, for this signer alone. */
export async function ownKeys(prefix: string, run: Pick<UkiOptions, "environment" | "signal">): Promise<UkiKeys> {
  const keys = { keyFile: `${prefix}.key`, certificateFile: `${prefix}.crt` };
  const there = await Promise.all(
    [keys.keyFile, keys.certificateFile].map((path) => stat(path).catch(() => undefined)),
  );
  if (there.every((one) => one !== undefined)) return keys;
  if (there.some((one) => one !== undefined))
    throw new Error(`of ${keys.keyFile} and ${keys.certificateFile} only one is there: they belong together`);
  const subject = ["-subj", "/CN=Flynn boot images"];
  const made = ["-newkey", "rsa:2048", "-nodes", "-keyout", keys.keyFile, "-out", keys.certificateFile];
  await exec(["openssl", "req", "-x509", "-sha256", "-days", "3650", ...subject, ...made], {
    env: run.environment,
    signal: run.signal,
  });
  return keys;
}

export const ukiCmdline = (cmdline: readonly string[], bootServer: string | undefined): string =>
  [...cmdline, ASKED_FETCH, ...(bootServer === undefined ? [] : [`flynn.server=${bootServer}`])].join(" ");

export async function makeUki(options: UkiOptions): Promise<void> {
  const { kernelFile, initrdFile, cmdline, bootServer, keys, output, workDirectory, environment, signal } = options;
  const text = async (name: string, content: string): Promise<string> => {
    const path = join(workDirectory, name);
    await writeFile(path, content);
    return path;
  };
  const sections: [string, string][] = [
    [".osrel", await text("uki-osrel", 'ID=flynn\nNAME="Flynn host"\nVERSION_ID=1\n')],
    [".cmdline", await text("uki-cmdline", ukiCmdline(cmdline, bootServer))],
    [".linux", kernelFile],
    [".initrd", initrdFile],
  ];
  const argv = ["objcopy"];
  let at = FIRST_SECTION;
  for (const [name, file] of sections) {
    argv.push("--add-section", `${name}=${file}`, "--change-section-vma", `${name}=0x${at.toString(16)}`);
    at += Math.ceil((await stat(file)).size / SECTION_STEP) * SECTION_STEP;
  }
  const unsigned = join(workDirectory, "uki.efi");
  await exec([...argv, STUB, unsigned], { env: environment, signal, timeoutMs: 120_000 });
  const signing = ["sbsign", "--key", keys.keyFile, "--cert", keys.certificateFile, "--output", output, unsigned];
  await exec(signing, { env: environment, signal, timeoutMs: 120_000 });
}
