// A signed unified kernel image: what it is made of, who signs it, and what is said where it cannot be made.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ownKeys, requireUki, ukiCmdline } from "../../../images/host/uki.ts";

const run = { environment: process.env, signal: AbortSignal.timeout(60_000) };

test("its command line is the image's, and names whom to ask in place of what a script would have added", () => {
  assert.is(
    ukiCmdline(["boot=live", "quiet"], "http://10.0.0.1:7780"),
    "boot=live quiet fetch=http://boot-server/root.squashfs flynn.server=http://10.0.0.1:7780",
  );
  assert.is(ukiCmdline(["quiet"], undefined), "quiet fetch=http://boot-server/root.squashfs");
});

test("the initrd knows the URL that stands for a question", async () => {
  const initrd = join(
    import.meta.dirname,
    "../../../images/host/rootfs/usr/lib/live/boot/9991-flynn-verified-fetch.sh",
  );
  assert.match(await readFile(initrd, "utf8"), '\nFLYNN_ASKED="http://boot-server/root.squashfs"\n');
});

test("a key of its own is made once, for one signer; half a pair is not taken for none", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-uki-"));
  try {
    const made = await ownKeys(join(directory, "boot"), run);
    const [key, certificate] = await Promise.all(
      [made.keyFile, made.certificateFile].map((path) => readFile(path, "utf8")),
    );
    assert.match(key!, "PRIVATE KEY");
    assert.match(certificate!, "BEGIN CERTIFICATE");
    assert.equal(await ownKeys(join(directory, "boot"), run), made);
    assert.is(await readFile(made.keyFile, "utf8"), key);
    await writeFile(join(directory, "half.key"), "x");
    const refused = await ownKeys(join(directory, "half"), run).catch((error: Error) => error.message);
    assert.match(String(refused), /only one is there: they belong together/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("what such an image needs is told before anything is built", async () => {
  const refused = (architecture: "amd64" | "arm64", path: string) =>
    requireUki(architecture, path).then(
      () => "",
      (error: Error) => error.message,
    );
  assert.match(await refused("amd64", "/nowhere"), /apt-get install binutils sbsigntool/);
  assert.match(await refused("arm64", "/nowhere"), /for amd64 only, not arm64/);
});

test.run();
