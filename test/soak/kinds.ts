// Machines that need a boot image of their own kind, from power to a ready host: arm64 with AAVMF, and x86-64 with Secure Boot on and
// own keys enrolled, which boots the signed image and nothing else.
import { chmod, readFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import { booting, firstBoot } from "./boots.ts";
import type { Figures, Soak } from "./soaks.ts";

/** An emulated processor of another kind, on a machine that others use too. */
const SLOW_BOOT_MS = 1_500_000;
const COVERS = ["bootstrap", "images", "test/soak/kinds.ts", "test/soak/boots.ts", "test/lab/qemu.ts"];

export const arm64: Soak = {
  what: "an arm64 machine boots an arm64 image to a ready host",
  covers: COVERS,
  run: (call) =>
    inScope(call.signal, async (scope) => {
      const appliance = await booting(scope, call.say, { architecture: "arm64" });
      const options = { name: "arm1", firmware: "aavmf", diskGiB: 0 } as const;
      let architecture = "";
      const tookMs = await firstBoot(scope, appliance, options, {
        bootMs: SLOW_BOOT_MS,
        look: async ({ host }) => {
          architecture = host.architecture ?? "none";
        },
      });
      if (architecture !== "arm64") throw new Error(`the host says that its architecture is ${architecture}`);
      return { "ready: s": Math.round(tookMs / 1_000) };
    }),
};

/** Debian's own key for tests, whose certificate OVMF_VARS_4M.snakeoil.fd has enrolled as PK, KEK and db. */
const SNAKEOIL = "/usr/share/ovmf/PkKek-1-snakeoil";

export const ownKeys: Soak = {
  what: "a machine with Secure Boot and own keys boots the signed image to a ready host",
  covers: COVERS,
  run: (call) =>
    inScope(call.signal, async (scope) => {
      const keyFile = join(scope.folder, "uki.key");
      const key = ["-in", `${SNAKEOIL}.key`, "-passin", "pass:snakeoil", "-out", keyFile];
      await exec(["openssl", "rsa", ...key], { signal: scope.signal });
      await chmod(keyFile, 0o600);
      const appliance = await booting(scope, call.say, { uki: { keyFile, certificateFile: `${SNAKEOIL}.pem` } });
      const options = { name: "signed1", firmware: "ovmf-own-keys", diskGiB: 0 } as const;
      const tookMs = await firstBoot(scope, appliance, options, {
        bootMs: SLOW_BOOT_MS,
        // Its kernel and initrd are the program that its firmware fetched.
        stages: ["discover", "tftp", "script", "squashfs", "seed", "ready"],
        look: async ({ machine }) => {
          const console = await readFile(machine.consoleFile, "latin1");
          if (!/flynn: asking http:\/\/10\.77\.0\.1:7780 what to boot/.test(console))
            throw new Error("its initrd did not ask the boot server: it booted by another road");
        },
      });
      return { "ready: s": Math.round(tookMs / 1_000) };
    }),
};

async function inScope(signal: AbortSignal, work: (scope: Scope) => Promise<Figures>) {
  const scope = await openScope({ signals: false });
  const stop = () => void scope.close().catch(() => undefined);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return { done: true, figures: await work(scope) };
  } finally {
    signal.removeEventListener("abort", stop);
    await scope.close();
  }
}
