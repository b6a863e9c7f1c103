// A boot image on disk as `flynn image build` leaves it: small files, a real manifest, a real ed25519 signature.
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BootImageManifest, BootMachine, BootTarget } from "#api/boot.ts";

export interface ImageFixture {
  imagesDir: string;
  keyFile: string;
  manifest: BootImageManifest;
  contents: { vmlinuz: Buffer; initrd: Buffer; "root.squashfs": Buffer };
}

export async function writeImage(
  root: string,
  {
    id = "img1",
    architecture = "amd64" as BootImageManifest["architecture"],
    squashfs = Buffer.alloc(3_000_000, "squash"),
    key = generateKeyPairSync("ed25519").privateKey as KeyObject,
    publicKeyPem = "",
  } = {},
): Promise<ImageFixture> {
  const imagesDir = join(root, "images");
  const contents = {
    vmlinuz: Buffer.alloc(70_000, "kernel"),
    initrd: Buffer.alloc(90_001, "initrd"),
    "root.squashfs": squashfs,
  };
  const file = (content: Buffer) => ({
    sha256: createHash("sha256").update(content).digest("hex"),
    sizeBytes: content.length,
  });
  const manifest: BootImageManifest = {
    id,
    name: "host",
    createdAt: "2026-01-01T00:00:00.000Z",
    architecture,
    kernel: file(contents.vmlinuz),
    initrd: file(contents.initrd),
    squashfs: file(squashfs),
    cmdline: ["boot=live", "console=ttyS0,115200n8"],
    memoryNeedBytes: 1 << 30,
  };
  await mkdir(join(imagesDir, id), { recursive: true });
  const text = Buffer.from(JSON.stringify(manifest, null, 2));
  await writeFile(join(imagesDir, id, "manifest.json"), text);
  await writeFile(join(imagesDir, id, "manifest.sig"), `${sign(null, text, key).toString("base64")}\n`);
  for (const [name, content] of Object.entries(contents)) await writeFile(join(imagesDir, id, name), content);
  const keyFile = join(root, "image.pub");
  await writeFile(keyFile, publicKeyPem || publicPem(key));
  return { imagesDir, keyFile, manifest, contents };
}

export function publicPem(key: KeyObject): string {
  return createPublicKey(key as never)
    .export({ type: "spki", format: "pem" })
    .toString();
}

export function bootMachine(mac: string, more: Partial<BootMachine> = {}): BootMachine {
  return {
    id: `m-${mac.replaceAll(":", "")}`,
    hostname: `node-${mac.slice(-2)}`,
    macs: [mac],
    target: "boot",
    profile: {
      name: "default",
      image: "current",
      cmdline: [],
      tags: { zone: "a" },
      diskPolicy: { name: "default", mode: "ram" },
      sshKeys: [],
    },
    tags: {},
    ...more,
  };
}

export function bootTarget(
  machines: BootMachine[],
  manifest: BootImageManifest,
  more: Partial<BootTarget> = {},
): BootTarget {
  const { id, name, architecture, kernel, initrd, squashfs, cmdline, memoryNeedBytes, createdAt } = manifest;
  return {
    term: 1,
    seq: 1,
    controlUrls: ["https://10.77.0.1:7777"],
    caPem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    unknownMachines: "wait",
    machines,
    images: [{ id, name, architecture, kernel, initrd, squashfs, cmdline, memoryNeedBytes, createdAt, current: true }],
    ...more,
  };
}
