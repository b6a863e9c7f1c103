import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { bootFile, isOptional, loadersFor } from "../../bootstrap/dhcp/boot-files.ts";
import type { Client } from "../../bootstrap/dhcp/classify.ts";
import { readLoaders } from "../../bootstrap/loaders.ts";

const BASE = "http://10.77.0.1:7780";
const IPXE = { "ipxe/undionly.kpxe": "undi", "ipxe/snponly.efi": "snp" };
const SIGNED = {
  "lib/shim/shimx64.efi.signed": "shim",
  "lib/grub/x86_64-efi-signed/grubnetx64.efi.signed": "... User-Agent: GRUB 2.12 ...",
};

async function served(files: Record<string, string>, loaders = false): Promise<Map<string, string>> {
  const root = await mkdtemp(join(tmpdir(), "flynn-loaders-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(root, name)), { recursive: true });
      await writeFile(join(root, name), content);
    }
    const folders = {
      ipxeDir: join(root, "ipxe"),
      signedDir: join(root, "lib"),
      loadersDir: loaders ? join(root, "loaders") : "",
    };
    const read = await readLoaders(folders, BASE, silentLog());
    return new Map([...read].map(([name, content]) => [name, content.toString()]));
  } finally {
    await rm(root, { recursive: true });
  }
}

const client = (kind: Client["kind"], platform: Client["platform"]) =>
  ({ kind, platform, mac: "52:54:00:00:00:01" }) as Client;
const config = (loaders: ("ipxe" | "shim")[], ...names: string[]) => ({
  ...{ address: "10.77.0.1", httpPort: 7780, loaders, served: new Set(names) },
});

test("without iPXE a boot server does not start, and says what to install", async () => {
  const failure = await served({ "ipxe/undionly.kpxe": "undi" }).catch((error: unknown) => error);
  assert.ok(isFault(failure, "unavailable"));
  assert.match((failure as Error).message, /snponly\.efi is missing.*apt-get install ipxe/);
});

test("shim and GRUB are served together, beside each other, or not at all", async () => {
  const both = await served({ ...IPXE, ...SIGNED });
  assert.equal([both.get("shimx64.efi"), both.has("grubx64.efi"), both.has("shimaa64.efi")], ["shim", true, false]);
  const [shim, grub] = Object.keys(SIGNED) as [keyof typeof SIGNED, keyof typeof SIGNED];
  for (const missing of [shim, grub]) {
    const { [missing]: _, ...rest } = SIGNED;
    const one = await served({ ...IPXE, ...rest });
    assert.equal([one.has("shimx64.efi"), one.has("grubx64.efi")], [false, false], missing);
  }
});

test("a signed GRUB that speaks no HTTP, as Debian 12's, is no road", async () => {
  const [, grub] = Object.keys(SIGNED) as [string, string];
  assert.not.ok((await served({ ...IPXE, ...SIGNED, [grub]: "GRUB 2.06" })).has("shimx64.efi"));
});

test("newer loaders are taken first, and what is not among them from where it was", async () => {
  const newer = { "loaders/ipxe/snponly.efi": "newer", "loaders/ipxe/ipxe-arm64.efi": "arm" };
  const files = { ...IPXE, ...newer };
  const taken = await served(files, true);
  assert.equal(
    ["snponly.efi", "undionly.kpxe", "ipxe-arm64.efi"].map((name) => taken.get(name)),
    ["newer", "undi", "arm"],
  );
  assert.is((await served(files)).get("snponly.efi"), "snp");
});

test("what firmware may be given follows from what is served, in the order that is set", () => {
  const all = ["undionly.kpxe", "snponly.efi", "shimx64.efi", "shimaa64.efi"];
  const uefi = client("pxe", "uefi-x64");
  assert.equal(loadersFor(uefi, config(["ipxe", "shim"], ...all)), ["ipxe", "shim"]);
  assert.equal(loadersFor(uefi, config(["shim"], ...all)), ["shim"]);
  assert.equal(loadersFor(uefi, config(["shim"], "snponly.efi")), ["ipxe"], "better than nothing");
  assert.equal(loadersFor(client("pxe", "bios-x86"), config(["shim"], ...all)), ["ipxe"]);
  assert.equal(loadersFor(client("http", "uefi-arm64"), config(["ipxe", "shim"], ...all)), ["shim"]);
  assert.equal(loadersFor(client("ipxe", "uefi-x64"), config(["ipxe"], ...all)), []);
  assert.is(bootFile(uefi, config(["ipxe", "shim"], ...all), "shim"), "shimx64.efi");
  assert.is(bootFile(client("http", "uefi-x64"), config(["ipxe"], ...all), "shim"), `${BASE}/ipxe/snponly.efi`);
});

test("what shim and GRUB look for in vain is nobody's trouble; a wrong file name is", () => {
  for (const name of ["revocations_sbat.efi", "shim_certificate_0.efi", "/grub/x86_64-efi/command.lst"])
    assert.ok(isOptional(name), name);
  for (const name of ["pxelinux.0", "bootx64.efi", "grub/grub.cfg"]) assert.not.ok(isOptional(name), name);
});

test.run();
