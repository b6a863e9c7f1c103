import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createManifest, manifestText } from "../../../images/host/manifest.ts";
import { signingKey, signManifest, verifyManifest } from "../../../images/host/signature.ts";
import { manifestBody } from "../support/manifest.ts";

const bytes = Buffer.from(manifestText(createManifest(manifestBody)));
const pair = () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { privateKey, publicPem: publicKey.export({ type: "spki", format: "pem" }).toString() };
};

test("a manifest signed with a key is verified with its public half", () => {
  const { privateKey, publicPem } = pair();
  assert.is(verifyManifest(bytes, signManifest(bytes, privateKey), publicPem).id, createManifest(manifestBody).id);
});

test("one flipped bit anywhere in the manifest is refused", () => {
  const { privateKey, publicPem } = pair();
  const signature = signManifest(bytes, privateKey);
  for (const at of [0, 100, Math.floor(bytes.length / 2), bytes.length - 1]) {
    const tampered = Buffer.from(bytes);
    tampered[at]! ^= 1;
    assert.throws(() => verifyManifest(tampered, signature, publicPem), /signature is not valid/, `byte ${at}`);
  }
});

test("another key's signature, a cut one, none and garbage are refused", () => {
  const { privateKey, publicPem } = pair();
  const signature = signManifest(bytes, privateKey);
  for (const wrong of [signManifest(bytes, pair().privateKey), signature.slice(0, 40), "", "%%%", `${signature}AAAA`]) {
    assert.throws(() => verifyManifest(bytes, wrong, publicPem), /signature is not valid/, JSON.stringify(wrong));
  }
});

test("a public key of another kind is refused by name", () => {
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 })
    .publicKey.export({ type: "spki", format: "pem" })
    .toString();
  assert.throws(() => verifyManifest(bytes, "", rsa), /ed25519/);
});

test("the signing key is made once, readable by its owner only, with the public key beside it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-signing-"));
  try {
    const file = join(directory, "deep/images.key");
    const first = await signingKey(file);
    const second = await signingKey(file);
    assert.is(second.publicKeyPem, first.publicKeyPem);
    assert.is((await stat(file)).mode & 0o777, 0o600);
    assert.is(await readFile(`${file}.pub`, "utf8"), first.publicKeyPem);
    assert.is(verifyManifest(bytes, signManifest(bytes, second.privateKey), first.publicKeyPem).name, "host");
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
