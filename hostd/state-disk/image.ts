// What a state disk holds when it is new: an ext4 that is made in memory, in a sparse file of the disk's size, and the same to the byte
// each time. So each block is written to the disk once, in its final form, and half of it is known again after a power cut.
import { mkdtemp, open, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";
import { STATE_LABEL } from "./disk.ts";

export interface Extent {
  at: number;
  length: number;
}

export interface DiskImage {
  /** Where it is other than zero, in order; all else is zero. */
  extents: readonly Extent[];
  read(into: Buffer, at: number): Promise<void>;
  close(): Promise<void>;
}

/** Bytes that ext4 reads before it wrote them: under a policy that did not read all of the disk they are made zero. */
export type Journal = readonly Extent[];

const BLOCK = 4096;
/** Any time: the same for every disk, since mkfs writes it down. */
const MADE_AT = "1700000000";

/**
 * Ours, so that the bytes do not follow the defaults of the distribution that the boot image was made from: a format that a power cut
 * ended may be finished by the next image. A change here gives up half-made formats of before. By size as mke2fs names it: small below
 * 512 MiB, big from 4 TiB, huge from 16 TiB.
 */
const CONFIG = `[defaults]
  base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
  default_mntopts = acl,user_xattr
  enable_periodic_fsck = 0
  blocksize = ${BLOCK}
  inode_size = 256
  inode_ratio = 16384
[fs_types]
  ext4 = {
    features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
  }
  small = {
    inode_ratio = 4096
  }
  floppy = {
    inode_ratio = 8192
  }
  big = {
    inode_ratio = 32768
  }
  huge = {
    inode_ratio = 65536
  }
`;

/** `directory` should be in memory: about 16 MiB per TiB. */
export async function makeImage(options: {
  directory: string;
  sizeBytes: number;
  fileSystem: string;
  signal: AbortSignal;
}): Promise<DiskImage & { journal: Journal }> {
  const { sizeBytes, fileSystem, signal } = options;
  const folder = await mkdtemp(join(options.directory, "disk-image-"));
  const path = join(folder, "image");
  try {
    await writeFile(path, "");
    await truncate(path, sizeBytes);
    const config = join(folder, "mke2fs.conf");
    await writeFile(config, CONFIG);
    const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
    const made = { env: { PATH, E2FSPROGS_FAKE_TIME: MADE_AT, MKE2FS_CONFIG: config }, signal };
    const extended = `hash_seed=${fileSystem},nodiscard,lazy_itable_init=1,root_owner=0:0`;
    const marks = ["-b", String(BLOCK), "-L", STATE_LABEL, "-m", "1", "-U", fileSystem, "-E", extended];
    await exec(["mkfs.ext4", "-q", "-F", ...marks, path], { ...made, timeoutMs: 600_000 });
    const { stdout } = await exec(["debugfs", "-R", "dump_extents <8>", path], { ...made, timeoutMs: 60_000 });
    const extents = await extentsOf(folder, signal);
    const file = await open(path, "r");
    return {
      extents,
      journal: journalOf(stdout),
      async read(into, at) {
        const { bytesRead } = await file.read(into, 0, into.length, at);
        if (bytesRead !== into.length) throw new Error(`the image of the file system ends at ${at + bytesRead}`);
      },
      async close() {
        await file.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Node cannot ask for the holes of a file; tar writes down where there are none (GNU.sparse 1.0). */
async function extentsOf(folder: string, signal: AbortSignal): Promise<Extent[]> {
  const archive = join(folder, "map.tar");
  const argv = ["tar", "--create", "--sparse", "--format=posix", "--directory", folder, "--file", archive, "image"];
  await exec(argv, { timeoutMs: 600_000, signal });
  const file = await open(archive, "r");
  try {
    const head = Buffer.alloc(Math.min(4 << 20, (await stat(archive)).size));
    await file.read(head, 0, head.length, 0);
    return parseSparseMap(head);
  } finally {
    await file.close();
    await rm(archive);
  }
}

/** A pax header (type x) with its records, the file's header, then the map: decimal lines, count first, then offset and length. */
export function parseSparseMap(archive: Buffer): Extent[] {
  const sizeOf = (header: number) => Number.parseInt(archive.toString("latin1", header + 124, header + 135), 8);
  if (archive.toString("latin1", 156, 157) !== "x") throw new Error("tar wrote no map of the holes");
  const records = archive.toString("utf8", 512, 512 + sizeOf(0));
  if (!records.includes("GNU.sparse.major=1")) throw new Error("tar wrote no map of the holes");
  const map = 512 + Math.ceil(sizeOf(0) / 512) * 512 + 512;
  let at = map;
  const number = (): number => {
    const end = archive.indexOf(10, at);
    const value = end < 0 ? Number.NaN : Number(archive.toString("latin1", at, end));
    if (!Number.isSafeInteger(value)) throw new Error("tar's map of the holes is cut off");
    at = end + 1;
    return value;
  };
  const extents = Array.from({ length: number() }, () => ({ at: number(), length: number() }));
  return extents.filter(({ length }) => length > 0);
}

/** Lines of debugfs: level, index, logical from - to, physical from - to, count. */
export function journalOf(text: string): Journal {
  const rows = text.split("\n").flatMap((line) => {
    const match = /^\s*(\d+)\/\s*(\d+)\s.*\s(\d+)\s*-\s*(\d+)\s+(\d+)\s*(Uninit)?\s*$/.exec(line);
    return match && match[1] === match[2] ? [{ at: Number(match[3]) * BLOCK, length: Number(match[5]) * BLOCK }] : [];
  });
  if (rows.length === 0) throw new Error("the new file system has no journal that debugfs can see");
  return rows;
}
