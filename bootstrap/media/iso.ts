// An ISO 9660 image that BIOS and UEFI boot (El Torito), with a few files, and the files of such an image. The same files give the same
// bytes. Pure.

const SECTOR = 2048;
const [VOLUME_AT, BOOT_AT, END_AT, PATHS_LE_AT, PATHS_BE_AT, CATALOG_AT, FOLDERS_AT] = [16, 17, 18, 19, 20, 21, 22];
const RECORD_MOST = 255;

export interface IsoParts {
  /** By path, `ISOLINUX.CFG` or `GRUB/GRUB.CFG`: names of 8.3, one folder deep at most. */
  files: ReadonlyMap<string, Buffer>;
  /** Which of the files a BIOS runs: isolinux, told here where it stands. */
  bios?: string | undefined;
  /** Which of them is the FAT image that UEFI looks into. */
  efi?: string | undefined;
}

export function isoImage({ files, bios, efi }: IsoParts): Buffer {
  const folders = ["", ...new Set([...files.keys()].flatMap((path) => folderOf(path) || []))];
  const folderAt = (name: string) => FOLDERS_AT + folders.indexOf(name);
  const at = new Map<string, number>();
  let end = FOLDERS_AT + folders.length;
  for (const [path, content] of files) {
    at.set(path, end);
    end += Math.max(1, Math.ceil(content.length / SECTOR));
  }
  const image = Buffer.alloc(end * SECTOR);
  for (const [path, content] of files) content.copy(image, at.get(path)! * SECTOR);

  for (const folder of folders) {
    const own = folderAt(folder);
    const records = [
      record("\0", own, SECTOR, true),
      record("\x01", folderAt(""), SECTOR, true),
      ...(folder === ""
        ? folders.slice(1).map((name) => ({ name, bytes: record(name, folderAt(name), SECTOR, true) }))
        : []
      )
        .concat(
          [...files]
            .filter(([path]) => folderOf(path) === folder)
            .map(([path, content]) => {
              const name = `${path.split("/").at(-1)};1`;
              return { name, bytes: record(name, at.get(path)!, content.length, false) };
            }),
        )
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(({ bytes }) => bytes),
    ];
    const bytes = Buffer.concat(records);
    if (bytes.length > SECTOR) throw new Error("too many files in one folder of an ISO");
    bytes.copy(image, own * SECTOR);
  }
  const paths = (isBig: boolean) => Buffer.concat(folders.map((name) => pathRecord(name, folderAt(name), isBig)));
  paths(false).copy(image, PATHS_LE_AT * SECTOR);
  paths(true).copy(image, PATHS_BE_AT * SECTOR);
  volume({ sectors: end, pathBytes: paths(false).length, root: record("\0", folderAt(""), SECTOR, true) }).copy(
    image,
    VOLUME_AT * SECTOR,
  );
  descriptor(0, (bytes) => {
    bytes.write("EL TORITO SPECIFICATION", 7, "latin1");
    bytes.writeUInt32LE(CATALOG_AT, 71);
  }).copy(image, BOOT_AT * SECTOR);
  descriptor(255, () => undefined).copy(image, END_AT * SECTOR);
  const size = (path: string) => files.get(path)!.length;
  catalog(
    bios === undefined ? undefined : { at: at.get(bios)!, sectors: 4 },
    efi === undefined ? undefined : { at: at.get(efi)!, sectors: Math.ceil(size(efi) / 512) },
  ).copy(image, CATALOG_AT * SECTOR);
  if (bios !== undefined) bootInfo(image, at.get(bios)!, size(bios));
  return image;
}

/** The files of its first folder, by name in small letters; empty when it is no ISO 9660 image. */
export function filesOfIso(iso: Buffer): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const start = VOLUME_AT * SECTOR;
  if (iso.length < start + SECTOR || iso.toString("latin1", start + 1, start + 6) !== "CD001") return found;
  const [first, length] = [iso.readUInt32LE(start + 158), iso.readUInt32LE(start + 166)];
  for (let offset = first * SECTOR; offset < Math.min(iso.length - 34, first * SECTOR + length); ) {
    const bytes = iso[offset]!;
    if (bytes === 0) {
      offset = (Math.floor(offset / SECTOR) + 1) * SECTOR;
      continue;
    }
    const name = iso.toString("latin1", offset + 33, offset + 33 + iso[offset + 32]!);
    const [at, size] = [iso.readUInt32LE(offset + 2) * SECTOR, iso.readUInt32LE(offset + 10)];
    const isFolder = (iso[offset + 25]! & 2) !== 0;
    if (!isFolder && at + size <= iso.length)
      found.set(name.replace(/\.?;\d+$/, "").toLowerCase(), iso.subarray(at, at + size));
    offset += bytes;
  }
  return found;
}

const folderOf = (path: string): string => (path.includes("/") ? path.slice(0, path.indexOf("/")) : "");

function record(name: string, at: number, size: number, isFolder: boolean): Buffer {
  const text = Buffer.from(name, "latin1");
  const bytes = Buffer.alloc(33 + text.length + (text.length % 2 === 0 ? 1 : 0));
  if (bytes.length > RECORD_MOST) throw new Error(`${name} is no name for an ISO`);
  bytes.writeUInt8(bytes.length, 0);
  both32(bytes, at, 2);
  both32(bytes, size, 10);
  bytes.set([70, 1, 1], 18);
  bytes.writeUInt8(isFolder ? 2 : 0, 25);
  both16(bytes, 1, 28);
  bytes.writeUInt8(text.length, 32);
  text.copy(bytes, 33);
  return bytes;
}

function pathRecord(name: string, at: number, isBig: boolean): Buffer {
  const text = Buffer.from(name === "" ? "\0" : name, "latin1");
  const bytes = Buffer.alloc(8 + text.length + (text.length % 2));
  bytes.writeUInt8(text.length, 0);
  if (isBig) bytes.writeUInt32BE(at, 2);
  else bytes.writeUInt32LE(at, 2);
  if (isBig) bytes.writeUInt16BE(1, 6);
  else bytes.writeUInt16LE(1, 6);
  text.copy(bytes, 8);
  return bytes;
}

function descriptor(type: number, fill: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  bytes.writeUInt8(type, 0);
  bytes.write("CD001", 1, "latin1");
  bytes.writeUInt8(1, 6);
  fill(bytes);
  return bytes;
}

function volume({ sectors, pathBytes, root }: { sectors: number; pathBytes: number; root: Buffer }): Buffer {
  return descriptor(1, (bytes) => {
    bytes.fill(" ", 8, 72);
    bytes.write("FLYNN", 40, "latin1");
    both32(bytes, sectors, 80);
    both16(bytes, 1, 120);
    both16(bytes, 1, 124);
    both16(bytes, SECTOR, 128);
    both32(bytes, pathBytes, 132);
    bytes.writeUInt32LE(PATHS_LE_AT, 140);
    bytes.writeUInt32BE(PATHS_BE_AT, 148);
    root.copy(bytes, 156);
    bytes.fill(" ", 190, 813);
    for (const at of [813, 830, 847, 864]) bytes.write("0000000000000000", at, "latin1");
    bytes.writeUInt8(1, 881);
  });
}

interface BootEntry {
  at: number;
  /** Of 512 bytes. */
  sectors: number;
}

function catalog(bios: BootEntry | undefined, efi: BootEntry | undefined): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  const first = bios ?? efi;
  if (first === undefined) return bytes;
  bytes.writeUInt8(1, 0);
  bytes.writeUInt8(bios === undefined ? 0xef : 0, 1);
  bytes.write("FLYNN", 4, "latin1");
  bytes.writeUInt16LE(0xaa55, 30);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += bytes.readUInt16LE(at);
  bytes.writeUInt16LE(-sum & 0xffff, 28);
  const entry = (at: number, boot: BootEntry) => {
    bytes.writeUInt8(0x88, at);
    bytes.writeUInt16LE(boot.sectors, at + 6);
    bytes.writeUInt32LE(boot.at, at + 8);
  };
  entry(32, first);
  if (bios === undefined || efi === undefined) return bytes;
  bytes.set([0x91, 0xef, 1, 0], 64);
  entry(96, efi);
  return bytes;
}

/** What isolinux reads of itself: where it stands, how long it is, and a sum of it. */
function bootInfo(image: Buffer, at: number, size: number): void {
  const own = image.subarray(at * SECTOR, at * SECTOR + Math.ceil(size / 4) * 4);
  own.fill(0, 8, 64);
  let sum = 0;
  for (let offset = 64; offset + 4 <= own.length; offset += 4) sum = (sum + own.readUInt32LE(offset)) >>> 0;
  own.writeUInt32LE(VOLUME_AT, 8);
  own.writeUInt32LE(at, 12);
  own.writeUInt32LE(size, 16);
  own.writeUInt32LE(sum, 20);
}

function both32(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value, at);
  bytes.writeUInt32BE(value, at + 4);
}

function both16(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt16LE(value, at);
  bytes.writeUInt16BE(value, at + 2);
}
