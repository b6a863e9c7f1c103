// The signed description of one boot image: which bytes belong to it, how to boot them, what is inside. Its text is
// canonical, so that the same image has the same id and signature wherever it is built. Format: images/README.md.
import { createHash } from "node:crypto";

export interface ImageFile {
  sha256: string;
  sizeBytes: number;
}

export interface ImagePackage {
  name: string;
  version: string;
}

export interface Manifest {
  /** First 16 hex digits of the sha256 of the manifest without its id. */
  id: string;
  name: string;
  /** Date of the newest package (or SOURCE_DATE_EPOCH), ISO 8601: the same for every build of the same inputs. */
  createdAt: string;
  architecture: string;
  kernel: ImageFile & { version: string };
  initrd: ImageFile;
  squashfs: ImageFile;
  /** The same kernel, initrd and command line as one signed EFI program. */
  uki?: ImageFile;
  /** Kernel arguments of every boot; the boot server adds fetch=, BOOTIF= and ds=. */
  cmdline: string[];
  packages: ImagePackage[];
  /** Usable memory (MemTotal) that a machine must have to boot the image, in bytes. */
  memoryNeedBytes: number;
  /** sha256 over the recipe, the package versions and the host agent's bundle. */
  inputs: string;
}

/** Names of an image's files inside its directory. */
export const imageFiles = { kernel: "vmlinuz", initrd: "initrd", squashfs: "root.squashfs", uki: "uki.efi" } as const;

export function createManifest(body: Omit<Manifest, "id">): Manifest {
  return { ...body, id: imageId(body) };
}

export function imageId(body: Omit<Manifest, "id">): string {
  const { id: _, ...rest } = body as Manifest;
  return createHash("sha256").update(canonicalJson(rest)).digest("hex").slice(0, 16);
}

/** The exact bytes of manifest.json: keys sorted, two spaces, a newline at the end. */
export function manifestText(manifest: Manifest): string {
  return `${canonicalJson(manifest)}\n`;
}

/** Reads manifest.json, checked field by field; the id must be that of the rest. */
export function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error("image manifest is not JSON", { cause });
  }
  const problem = manifestProblem(value as Manifest);
  if (problem !== undefined) throw new Error(`image manifest: ${problem}`);
  return value as Manifest;
}

function manifestProblem(value: Manifest): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "must be an object";
  for (const name of ["kernel", "initrd", "squashfs", ...(value.uki === undefined ? [] : ["uki" as const])] as const) {
    const file = value[name];
    if (typeof file !== "object" || file === null) return `${name} is missing`;
    if (!/^[0-9a-f]{64}$/.test(String(file.sha256))) return `${name}.sha256 must be 64 hex digits`;
    if (!Number.isSafeInteger(file.sizeBytes) || file.sizeBytes <= 0) return `${name}.sizeBytes must be a size`;
  }
  for (const name of ["name", "createdAt", "architecture", "inputs"] as const) {
    if (typeof value[name] !== "string") return `${name} must be text`;
  }
  if (typeof value.kernel.version !== "string") return "kernel.version must be text";
  if (!Array.isArray(value.cmdline) || !value.cmdline.every((word) => /^[!-~]+$/.test(String(word)))) {
    return "cmdline must be printable words";
  }
  if (!Array.isArray(value.packages)) return "packages must be a list";
  if (!Number.isSafeInteger(value.memoryNeedBytes) || value.memoryNeedBytes <= 0)
    return "memoryNeedBytes must be a size";
  if (value.id !== imageId(value)) return "id does not belong to this content";
  return undefined;
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(sortKeys(value), undefined, 2);
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, at]) => at !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, at]) => [key, sortKeys(at)]));
}
