// A writer for the cpio "newc" format, as the kernel's initramfs reads it (Documentation/driver-api/early-userspace/
// buffer-format.rst). Pure: the same entries give the same bytes.

export interface CpioEntry {
  /** Path from the root of the initramfs, without a leading slash. */
  path: string;
  /** File type and permissions; default a regular file 0644, or a directory 0755 when there is no content. */
  mode?: number;
  /** Left out for a directory. */
  content?: string | Buffer;
}

const ALIGN = 4;

export function cpioArchive(entries: readonly CpioEntry[], mtimeSeconds: number): Buffer {
  const parts = entries.map((entry, index) => member(entry, index + 1, mtimeSeconds));
  parts.push(header({ ino: 0, mode: 0, nlink: 1, mtime: 0, name: "TRAILER!!!", size: 0 }));
  return Buffer.concat(parts);
}

/**
 * An initrd with one more segment before it. The kernel reads an uncompressed archive, skips zero bytes to a multiple of
 * four, then reads the compressed one. Behind it would not do: the kernel's lz4 reader takes whatever follows for its own.
 */
export function prependSegment(segment: Buffer, initrd: Buffer): Buffer {
  return Buffer.concat([padTo(segment, 512), initrd]);
}

function member({ path, mode, content }: CpioEntry, ino: number, mtime: number): Buffer {
  if (path === "" || path.startsWith("/") || path.split("/").includes("..") || path.includes("\0")) {
    throw new Error(`not a path inside an initramfs: ${JSON.stringify(path)}`);
  }
  const data = content === undefined ? Buffer.alloc(0) : Buffer.from(content);
  const type = content === undefined ? 0o040755 : 0o100644;
  const nlink = content === undefined ? 2 : 1;
  return Buffer.concat([
    header({ ino, mode: mode ?? type, nlink, mtime, name: path, size: data.length }),
    padTo(data, ALIGN),
  ]);
}

function header(entry: {
  ino: number;
  mode: number;
  nlink: number;
  mtime: number;
  name: string;
  size: number;
}): Buffer {
  const name = Buffer.from(`${entry.name}\0`);
  const fields = [entry.ino, entry.mode, 0, 0, entry.nlink, entry.mtime, entry.size, 0, 0, 0, 0, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, "0").toUpperCase()).join("")}`;
  return padTo(Buffer.concat([Buffer.from(text, "ascii"), name]), ALIGN);
}

function padTo(bytes: Buffer, multiple: number): Buffer {
  const missing = (multiple - (bytes.length % multiple)) % multiple;
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}
