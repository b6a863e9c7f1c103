// Walks a tar archive as it streams by, as Go's archive/tar reads it (Docker and skopeo are its readers): how many entries, how large,
// of which kind. What readers disagree on is refused, so that nothing is unpacked that was not counted. Nothing is kept but one
// header: a million entries cost no more than their bytes. POSIX.1-2001 pax, GNU tar.

export interface TarEntry {
  /** As readers have it, extended headers applied; empty for an extended header. */
  name: string;
  /** Bytes of content that follow. */
  sizeBytes: number;
  isLink: boolean;
}

export interface TarWalk {
  /** Throws what `refuse` makes of it. */
  feed(chunk: Buffer): void;
  /** Throws when it broke off inside of an entry. */
  end(): void;
}

export interface TarVisitor {
  entry(entry: TarEntry): void;
  /** Bytes of the last entry's content. */
  content?(bytes: Buffer): void;
}

const BLOCK = 512;
const PAX_MOST_BYTES = 1 << 20;
const REGULAR = ["0", "\0", "7"];
/** Hard link, symbolic link, devices, directory, FIFO: Go skips no content of theirs, others do. */
const HEADER_ONLY = ["1", "2", "3", "4", "5", "6"];
/** pax; long name and long link of GNU tar. `g` and `X` are read in as many ways as there are readers. */
const EXTENDED = ["x", "L", "K"];

/** `refuse` makes the error of a reason, such as "is no sound tar archive". */
export function tarWalk(refuse: (why: string) => Error, visitor: TarVisitor): TarWalk {
  const head = Buffer.alloc(BLOCK);
  let headBytes = 0;
  let left = 0;
  let padding = 0;
  let zeroBlocks = 0;
  let inside = false;
  /** Content of the extended header that is read. */
  let extension: Buffer[] | undefined;
  /** Extended headers of the entry to come, and what they say of it. */
  let before = "";
  let longName: string | undefined;
  let paxSize: number | undefined;

  const begin = (): void => {
    const type = String.fromCharCode(head[156]!);
    const sizeBytes = numberOf(head.subarray(124, 136));
    if (isOldGo(head)) throw refuse("has a name that not all read alike");
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw refuse("has an entry of no sound size");
    if (EXTENDED.includes(type)) beginExtended(type, sizeBytes);
    else if (REGULAR.includes(type) || HEADER_ONLY.includes(type)) beginEntry(type, sizeBytes);
    else if (type === "g" || type === "X") throw refuse(`has an extended header of kind ${type}, which is not taken`);
    else
      throw refuse(
        `has an entry of kind ${JSON.stringify(type)}: sparse files and other kinds of GNU tar are not taken`,
      );
    padding = (BLOCK - (left % BLOCK)) % BLOCK;
    if (left === 0) finish();
  };
  const beginExtended = (type: string, sizeBytes: number): void => {
    if (sizeBytes > PAX_MOST_BYTES) throw refuse("has an extended header that is too long");
    if (before.includes(type) || (before !== "" && (type === "x" || before.includes("x"))))
      throw refuse("has two extended headers for one entry, which not all read alike");
    before += type;
    extension = [];
    inside = false;
    left = sizeBytes;
    visitor.entry({ name: "", sizeBytes: 0, isLink: false });
  };
  const beginEntry = (type: string, sizeBytes: number): void => {
    const name = longName ?? headName(head);
    left = HEADER_ONLY.includes(type) ? 0 : (paxSize ?? sizeBytes);
    if (HEADER_ONLY.includes(type) && (paxSize ?? sizeBytes) + sizeBytes > 0)
      throw refuse("has a link, directory or device with content, which not all read alike");
    // To Go a directory, with nothing to skip.
    if (type === "\0" && left > 0 && (name === "" || name.endsWith("/") || before !== ""))
      throw refuse("has a file of an old kind with a directory's name");
    before = "";
    longName = undefined;
    paxSize = undefined;
    inside = true;
    visitor.entry({ name, sizeBytes: left, isLink: type === "1" || type === "2" });
  };
  const finish = (): void => {
    if (extension === undefined) return;
    const bytes = Buffer.concat(extension);
    extension = undefined;
    // Go falls back to the header's own name, others take the empty one.
    const refuseEmpty = (name: string | undefined): string | undefined => {
      if (name === "") throw refuse("has a name that not all read alike");
      return name;
    };
    if (!before.endsWith("x")) {
      const name = refuseEmpty(textOf(bytes));
      if (before.endsWith("L")) longName = name;
      return;
    }
    const records = paxRecords(bytes);
    if (records === undefined) throw refuse("has an extended header that is not sound");
    if ([...records.keys()].some((key) => key.startsWith("GNU.sparse.")))
      throw refuse("has a sparse file, which would unpack to more than it says");
    const size = records.get("size");
    if (size !== undefined) paxSize = /^\d{1,15}$/.test(size) ? Number(size) : Number.NaN;
    if (Number.isNaN(paxSize)) throw refuse("has an entry of no sound size");
    longName = refuseEmpty(records.get("path"));
    refuseEmpty(records.get("linkpath"));
  };

  return {
    feed(chunk) {
      let at = 0;
      // What follows two blocks of zeros is read by nobody.
      while (at < chunk.length && zeroBlocks < 2) {
        if (left > 0) {
          const bytes = chunk.subarray(at, at + left);
          at += bytes.length;
          left -= bytes.length;
          if (inside) visitor.content?.(bytes);
          extension?.push(Buffer.from(bytes));
          if (left === 0) finish();
        } else if (padding > 0) {
          const skipped = Math.min(padding, chunk.length - at);
          at += skipped;
          padding -= skipped;
        } else {
          const taken = chunk.copy(head, headBytes, at, at + BLOCK - headBytes);
          at += taken;
          headBytes += taken;
          if (headBytes < BLOCK) return;
          headBytes = 0;
          if (isZero(head)) zeroBlocks++;
          else if (zeroBlocks > 0 || !isTarHeader(head)) throw refuse("is no sound tar archive");
          else begin();
        }
      }
    },
    end() {
      if (before !== "" || (zeroBlocks < 2 && (left > 0 || padding > 0 || headBytes > 0)))
        throw refuse("is broken or cut off");
    },
  };
}

/** Whether its checksum is that of a header, unsigned or, as old programs have it, signed. */
export function isTarHeader(block: Buffer): boolean {
  if (block.length < BLOCK || isZero(block)) return false;
  let unsigned = 0;
  let signed = 0;
  for (let n = 0; n < BLOCK; n++) {
    const byte = n >= 148 && n < 156 ? 32 : block[n]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const wanted = numberOf(block.subarray(148, 156));
  return wanted === unsigned || wanted === signed;
}

const ZERO = Buffer.alloc(BLOCK);
const isZero = (block: Buffer): boolean => block.equals(ZERO);

const textOf = (field: Buffer): string => field.toString("utf8").replace(/\0.*$/s, "");

const magicOf = (head: Buffer): string => head.toString("latin1", 257, 263);

/** ustar has what does not fit in a prefix, at 345; GNU tar has times there, star after fewer bytes of prefix. */
function headName(head: Buffer): string {
  const name = textOf(head.subarray(0, 100));
  const isStar = head.toString("latin1", 508, 512) === "tar\0";
  const prefix = magicOf(head) === "ustar\0" ? textOf(head.subarray(345, isStar ? 476 : 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** An old writer of Go put a prefix where GNU tar has times: Go takes it for one when these are no numbers. */
const isOldGo = (head: Buffer): boolean =>
  magicOf(head) === "ustar " && [345, 357].some((at) => !Number.isSafeInteger(numberOf(head.subarray(at, at + 12))));

/** Octal text between spaces and NULs, or base 256 when the first bit is set (GNU tar). */
function numberOf(field: Buffer): number {
  if ((field[0]! & 0x80) === 0) {
    const text = field
      .toString("latin1")
      .replace(/^[ \0]+|[ \0]+$/g, "")
      .replace(/\0.*$/s, "");
    if (text === "") return 0;
    return /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN;
  }
  if ((field[0]! & 0x40) !== 0) return Number.NaN;
  return field.subarray(1).reduce((sum, byte) => sum * 256 + byte, field[0]! & 0x3f);
}

/** `LENGTH KEY=VALUE\n` each; undefined when one is not that. */
function paxRecords(bytes: Buffer): Map<string, string> | undefined {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 || space - at > 8 ? "" : bytes.toString("latin1", at, space);
    const length = /^\d+$/.test(digits) ? Number(digits) : 0;
    if (length <= space + 1 - at || at + length > bytes.length) return undefined;
    const [, key, value] = /^([^=\0]+)=(.*)\n$/s.exec(bytes.toString("utf8", space + 1, at + length)) ?? [];
    if (key === undefined) return undefined;
    records.set(key, value ?? "");
    at += length;
  }
  return records;
}
