// Machines that need a boot image of their own kind, from power to a ready host: arm64 with AAVMF, and x86-64 with Secure Boot on and
// own keys enrolled, which boots the signed image and nothing else.
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Host } from "#api/hosts.ts";
import type { Job } from "#api/jobs.ts";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { newestTreeKey } from "../../images/host/tree.ts";
import { CACHE } from "../e2e/boot-image.ts";
import { type Appliance, addHost } from "../lab/appliance.ts";
import { type ImageOptions, writeAppImage } from "../lab/image.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import type { TarEntry } from "../lab/tar.ts";
import { booting, firstBoot } from "./boots.ts";
import type { Figures, Soak } from "./soaks.ts";

/** An emulated processor of another kind, on a machine that others use too. */
const SLOW_BOOT_MS = 1_500_000;
const COVERS = ["bootstrap", "images", "test/soak/kinds.ts", "test/soak/boots.ts", "test/lab/qemu.ts"];

export const arm64: Soak = {
  what: "an arm64 machine boots an arm64 image to a ready host, and apps run on the hosts that their images are for",
  covers: COVERS,
  run: (call) =>
    inScope(call.signal, async (scope) => {
      const appliance = await booting(scope, call.say, { architecture: "arm64" });
      await addHost(scope, appliance, 1);
      const options = { name: "arm1", firmware: "aavmf", diskGiB: 0 } as const;
      let servedMs = 0;
      const tookMs = await firstBoot(scope, appliance, options, {
        bootMs: SLOW_BOOT_MS,
        look: async ({ host }) => {
          call.say("the arm64 host is ready");
          if (host.architecture !== "arm64")
            throw new Error(`the host says that its architecture is ${host.architecture}`);
          const startedMs = performance.now();
          const busybox = await armBusybox(join(scope.folder, "arm64"), scope.signal);
          await serves(scope, appliance, "there", host.id, { architecture: "arm64", busybox });
          servedMs = performance.now() - startedMs;
          call.say("an arm64 app answers from it");
          const { body } = await appliance.api<Host>("GET", "/v1/hosts/h1");
          await serves(scope, appliance, "here", body.id, {});
        },
      });
      return { "ready: s": Math.round(tookMs / 1_000), "app served: s": Math.round(servedMs / 1_000) };
    }),
};

/** Deploys an app of an image, and looks at where it runs and what it answers. */
async function serves(
  scope: Scope,
  appliance: Appliance,
  app: string,
  hostId: string,
  image: Partial<ImageOptions>,
): Promise<void> {
  const archive = await writeAppImage(join(scope.folder, `${app}.tar`), "hello", image);
  await appliance.flynn(["create", app]);
  await appliance.flynn(["-a", app, "route", "add", "http", `${app}.example`]);
  await appliance.flynn(["-a", app, "deploy", "--archive", archive.path]);
  const { body } = await appliance.api<{ items: Job[] }>("GET", `/v1/apps/${app}/jobs`);
  const where = body.items.filter(({ state }) => state === "up").map((job) => job.hostId);
  if (where.length === 0 || where.some((each) => each !== hostId))
    throw new Error(`${app} runs on ${where.join(", ") || "no host"}, not on ${hostId}`);
  await until(async () => (await appliance.get(`${app}.example`)).body.startsWith(`Hello from ${app}`) || undefined, {
    what: `an answer of ${app}`,
    timeoutMs: 120_000,
    signal: scope.signal,
  });
}

/** That of the Debian tree which the image is made of. */
async function armBusybox(directory: string, signal: AbortSignal): Promise<TarEntry[]> {
  const cache = join(CACHE, "image-cache");
  const libraries = "usr/lib/aarch64-linux-gnu";
  const names = ["libc.so.6", "libresolv.so.2"];
  const loader = "ld-linux-aarch64.so.1";
  const wanted = ["usr/bin/busybox", ...[...names, loader].map((name) => `${libraries}/${name}`)];
  await mkdir(directory);
  const tree = join(cache, `tree-arm64-${await newestTreeKey(cache, "arm64")}.tar`);
  const argv = ["tar", "--extract", "--file", tree, "--directory", directory, ...wanted.map((path) => `./${path}`)];
  await exec(argv, { timeoutMs: 300_000, signal });
  const file = (path: string, from: string): TarEntry => ({
    path,
    kind: "file",
    mode: 0o755,
    from: join(directory, from),
  });
  return [
    file("bin/busybox", "usr/bin/busybox"),
    ...["lib", "lib/aarch64-linux-gnu"].map((path): TarEntry => ({ path, kind: "folder" })),
    file(`lib/${loader}`, `${libraries}/${loader}`),
    ...names.map((name) => file(`lib/aarch64-linux-gnu/${name}`, `${libraries}/${name}`)),
  ];
}

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
