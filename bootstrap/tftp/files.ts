// Where the server's bytes come from: a port with one small map behind it. There is no file system here, so there is
// nothing to walk out of.

export interface TftpClient {
  address: string;
  port: number;
}

export interface TftpFile {
  sizeBytes: number;
  /** Exactly `length` bytes from `offset`; the server asks only inside the size. One object per content: it is the cache key. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
}

export interface TftpFiles {
  /** `name` is normalised (see normaliseName). May depend on the client: a script per machine. */
  open(name: string, client: TftpClient): TftpFile | undefined | Promise<TftpFile | undefined>;
}

export function bufferFile(content: Uint8Array): TftpFile {
  return { sizeBytes: content.length, read: (offset, length) => content.subarray(offset, offset + length) };
}

/** Serves exactly these names. */
export function fixedFiles(files: Iterable<readonly [string, TftpFile | Uint8Array]>): TftpFiles {
  const byName = new Map<string, TftpFile>();
  for (const [name, file] of files) {
    const key = normaliseName(name);
    if (key === undefined) throw new Error(`no TFTP client can ask for ${JSON.stringify(name)}`);
    byName.set(key, file instanceof Uint8Array ? bufferFile(file) : file);
  }
  return { open: (name) => byName.get(name) };
}

/**
 * `\boot\\ipxe.efi` and `/boot/ipxe.efi` are `boot/ipxe.efi`. Firmware ends names with 0xff, blanks or control
 * bytes; those go. A name with `..`, or empty, is undefined: nothing.
 */
export function normaliseName(asked: string): string | undefined {
  const segments = asked
    .replace(/[\s\u0000-\u001f\u007f\u00ff]+$/, "")
    .replaceAll("\\", "/")
    .split("/")
    .filter((segment) => segment !== "" && segment !== ".");
  return segments.length === 0 || segments.includes("..") ? undefined : segments.join("/");
}
