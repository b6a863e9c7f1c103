// Every firmware that the lab has against the real boot server, one emulated machine at a time: to the kernel's fetch, or with Secure Boot
// on until the signed kernel runs. The figures are seconds from power-on to the boot script.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { BootEvent, BootImageManifest } from "#api/boot.ts";
import { fetchLoaders } from "../../images/loaders.ts";
import { writeImage } from "../bootstrap/image-fixture.ts";
import { bootImage, CACHE } from "../e2e/boot-image.ts";
import { bootFirmware, type FirmwareBoot } from "../lab/firmware/boot.ts";
import { openScope, type Scope } from "../lab/scope.ts";
import type { Soak } from "./soaks.ts";

const TIMEOUT_MS = 180_000;
const has = (stage: BootEvent["stage"]) => (events: readonly BootEvent[]) =>
  events.some((event) => event.stage === stage);
/** The initrd of a signed kernel fetches its root: the kernel runs. */
const runsLinux: FirmwareBoot["isReached"] = (_, console) => /flynn: fetching the root image/.test(console);
const kernel = { isReached: has("kernel"), timeoutMs: TIMEOUT_MS } as const;

const ROWS: Record<string, FirmwareBoot> = {
  "SeaBIOS, the card's iPXE": { firmware: "seabios", mode: "full", ...kernel },
  "SeaBIOS, a PXE ROM, undionly": { firmware: "seabios-undi", mode: "full", ...kernel },
  "SeaBIOS, iPXE on a stick, two cards": { firmware: "seabios-stick", mode: "full", idleCards: 1, ...kernel },
  "OVMF PXE, full": { firmware: "ovmf", mode: "full", ...kernel },
  "OVMF PXE, two cards": { firmware: "ovmf", mode: "full", idleCards: 1, ...kernel },
  "OVMF PXE, beside dnsmasq": { firmware: "ovmf", mode: "proxy", beside: "dnsmasq", ...kernel },
  "OVMF PXE, beside ISC dhcpd": { firmware: "ovmf", mode: "proxy", beside: "isc", ...kernel },
  "OVMF HTTP, full": { firmware: "ovmf-http", mode: "full", ...kernel },
  "OVMF HTTP, beside dnsmasq": { firmware: "ovmf-http", mode: "proxy", beside: "dnsmasq", ...kernel },
  "AAVMF PXE, full": { firmware: "aavmf", mode: "full", ...kernel, timeoutMs: 300_000 },
  "Secure Boot, found out, HTTP": { firmware: "ovmf-secure", mode: "full", isReached: runsLinux, timeoutMs: 300_000 },
  "Secure Boot, shim by PXE": {
    ...{ firmware: "ovmf-secure", mode: "full", isReached: runsLinux, timeoutMs: 300_000 },
    config: { uefiLoader: "shim" },
  },
};

export const firmware: Soak = {
  what: `firmware against the boot server: ${Object.keys(ROWS).join("; ")}`,
  covers: ["bootstrap", "images/loaders.ts", "test/soak/firmware.ts", "test/lab/firmware", "test/lab/qemu.ts"],
  async run({ resumed, timeUp, signal, say, keep }) {
    const figures: Record<string, number | string> = { ...resumed };
    const failed: string[] = [];
    const scope = await openScope({ signals: false });
    let running: Scope | undefined;
    const stop = () => void Promise.all([running?.close(), scope.close()]).catch(() => undefined);
    signal.addEventListener("abort", stop, { once: true });
    try {
      const loadersDir = join(CACHE, "loaders");
      await fetchLoaders({ directory: loadersDir, workDirectory: scope.folder, say, signal });
      for (const [name, row] of Object.entries(ROWS)) {
        if (figures[name] !== undefined) continue;
        if (timeUp.aborted) break;
        const each = await openScope({ signals: false });
        running = each;
        try {
          const real =
            row.isReached === runsLinux
              ? { image: await realImage(say, signal), memoryMiB: 1536 }
              : row.firmware === "aavmf"
                ? { image: await writeImage(each.folder, { architecture: "arm64" }) }
                : {};
          const { scriptMs } = await bootFirmware(each, { ...row, ...real, config: { loadersDir, ...row.config } });
          figures[name] = Number((scriptMs / 1_000).toFixed(1));
          say(`${name}: ${figures[name]} s to the script`);
          await keep(figures);
        } catch (error) {
          signal.throwIfAborted();
          failed.push(name); // the others are looked at all the same
          say(`${name}: ${(error as Error).message}`);
        } finally {
          await each.close();
        }
      }
      if (failed.length > 0) throw new Error(`did not come as far as they should: ${failed.join("; ")}`);
      return { done: Object.keys(ROWS).every((name) => figures[name] !== undefined), figures };
    } finally {
      signal.removeEventListener("abort", stop);
      await scope.close();
    }
  },
};

/** A host image with Debian's signed kernel: the newest there is, else a new one. */
async function realImage(
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<NonNullable<FirmwareBoot["image"]>> {
  const imagesDir = join(CACHE, "images");
  const keyFile = join(CACHE, "images.key.pub");
  const read = async () => {
    const names = await readdir(imagesDir).catch(() => [] as string[]);
    const texts = await Promise.all(
      names.map((name) => readFile(join(imagesDir, name, "manifest.json"), "utf8").catch(() => undefined)),
    );
    return texts
      .flatMap((text) => (text === undefined ? [] : [JSON.parse(text) as BootImageManifest]))
      .filter(({ architecture }) => architecture === "amd64")
      .toSorted((a, b) => a.createdAt.localeCompare(b.createdAt))
      .at(-1);
  };
  let manifest = await read();
  if (manifest === undefined) {
    await bootImage({ say, signal, fast: true });
    manifest = await read();
  }
  if (manifest === undefined) throw new Error(`${imagesDir} has no image`);
  return { imagesDir, keyFile, manifest };
}
