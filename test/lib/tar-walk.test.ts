// What the walk counts against what readers unpack: two small readers, as Go and as GNU tar go about it, on header sequences of chance.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { tarWalk } from "#lib/tar-walk.ts";

interface Piece {
  type: string;
  name?: string;
  content?: Buffer;
  /** Of the header, where it is not what the content says. */
  size?: number;
  /** The size field as it stands, where it is odd. */
  sizeField?: string;
}

const BLOCK = 512;
const padded = (bytes: Buffer): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((BLOCK - (bytes.length % BLOCK)) % BLOCK)]);

function piece({ type, name = "f", content = Buffer.alloc(0), size = content.length, sizeField }: Piece): Buffer {
  const head = Buffer.alloc(BLOCK);
  head.write(name, 0);
  head.write("0000644\0", 100);
  head.write(sizeField ?? `${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  head.write("00000000000\0", 136);
  head.write("        ", 148);
  head.write(type, 156, "latin1");
  head.write("ustar\u000000", 257, "latin1");
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([head, padded(content)]);
}

function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length++;
  return `${length}${rest}`;
}
const pax = (type: string, ...records: [key: string, value: string][]): Buffer =>
  piece({ type, content: Buffer.from(records.map(([key, value]) => record(key, value)).join("")) });

const archive = (...pieces: Buffer[]): Buffer => Buffer.concat([...pieces, Buffer.alloc(2 * BLOCK)]);

interface Seen {
  entries: number;
  bytes: number;
  names: string[];
}

function walked(bytes: Buffer, step = 700): Seen {
  const seen: Seen = { entries: 0, bytes: 0, names: [] };
  const walk = tarWalk((why) => new Error(`it ${why}`), {
    entry({ name, sizeBytes }) {
      seen.entries++;
      seen.bytes += sizeBytes;
      if (name !== "") seen.names.push(name);
    },
  });
  for (let at = 0; at < bytes.length; at += step) walk.feed(bytes.subarray(at, at + step));
  walk.end();
  return seen;
}
const refusal = (bytes: Buffer): string => {
  try {
    walked(bytes);
  } catch (error) {
    return (error as Error).message;
  }
  return "taken";
};

/** How two programs read: what they do with two extended headers, with a global one and with a link that has content. */
const READERS = {
  go: { merges: false, globals: false, skipsLinks: false, directories: true },
  gnu: { merges: true, globals: true, skipsLinks: true, directories: false },
};

/** What one reader unpacks, up to where it stops. */
function unpacked(bytes: Buffer, { merges, globals, skipsLinks, directories }: (typeof READERS)["go"]): Seen {
  const seen: Seen = { entries: 0, bytes: 0, names: [] };
  const ofAll = new Map<string, string>();
  let own = new Map<string, string>();
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const head = bytes.subarray(at, at + BLOCK);
    if (head.every((byte) => byte === 0)) break;
    const type = String.fromCharCode(head[156]!);
    const field = head.toString("latin1", 124, 136).replace(/^[ \0]+/, "");
    const raw = Number.parseInt(field, 8) || 0;
    at += BLOCK;
    if ("xXgLK".includes(type)) {
      const text = bytes.toString("utf8", at, at + raw);
      const records = [...text.matchAll(/\d+ ([^=\n]+)=([^\n]*)\n/g)].map(([, key, value]) => [key!, value!] as const);
      if (type === "x" || (type === "X" && merges)) own = new Map([...(merges ? own : []), ...records]);
      if (type === "g" && globals) for (const [key, value] of records) ofAll.set(key, value);
      if (type === "g" && !merges) own = new Map();
      if (type === "L") own.set("path", text.replace(/\0.*/s, ""));
      at += Math.ceil(raw / BLOCK) * BLOCK;
      continue;
    }
    const facts = new Map([...ofAll, ...own]);
    own = new Map();
    const name = facts.get("path") ?? head.toString("utf8", 0, 100).replace(/\0.*/s, "");
    const size = Number(facts.get("size") ?? raw);
    const isDirectory = type === "5" || (directories && type === "\0" && name.endsWith("/"));
    const hasContent = skipsLinks ? true : !"12346".includes(type) && !isDirectory;
    seen.entries++;
    seen.names.push(name);
    seen.bytes += Number(facts.get("GNU.sparse.realsize") ?? (hasContent ? size : 0));
    if (hasContent) at += Math.ceil(size / BLOCK) * BLOCK;
  }
  return seen;
}

const content = Buffer.from("x".repeat(10));
const hidden = piece({ type: "0", name: "hidden", content: Buffer.alloc(BLOCK, 1) });

test("files, long names and links are counted as they are, whatever the borders of the chunks", () => {
  const long = "d/".repeat(80);
  const bytes = archive(
    piece({ type: "5", name: "d/" }),
    piece({ type: "0", name: "a", content }),
    piece({ type: "L", content: Buffer.from(`${long}l\0`) }),
    piece({ type: "K", content: Buffer.from(`${long}k\0`) }),
    piece({ type: "2", name: "cut" }),
    pax("x", ["path", `${long}x`], ["mtime", "1.5"], ["size", "10"]),
    piece({ type: "0", name: "cut", content }),
    piece({ type: "0", name: "spaces", content, sizeField: "        12 \0" }),
  );
  for (const step of [1, 511, 512, 513, 100_000]) {
    const seen = walked(bytes, step);
    assert.equal(seen.names, ["d/", "a", `${long}l`, `${long}x`, "spaces"]);
    assert.equal([seen.entries, seen.bytes], [8, 30]);
  }
});

test("headers that readers take in more than one way are refused, each in words", () => {
  const big = String(hidden.length);
  const file = piece({ type: "0", name: "innocent" });
  const cases: [string, RegExp, ...Buffer[]][] = [
    ["x, x", /two extended headers/, pax("x", ["size", big]), pax("x", ["comment", "hi"]), file, hidden],
    ["x, g", /of kind g/, pax("x", ["size", big]), pax("g", ["comment", "hi"]), file, hidden],
    ["X", /of kind X/, pax("X", ["size", big]), file, hidden],
    ["x, L", /two extended headers/, pax("x", ["size", big]), piece({ type: "L", content }), file, hidden],
    ["L, L", /two extended headers/, piece({ type: "L", content }), piece({ type: "L", content }), file],
    ["a long name of nothing", /not all read alike/, piece({ type: "L" }), file],
    ["a long link of nothing", /not all read alike/, piece({ type: "K" }), piece({ type: "2", name: "cut" })],
    ["an empty path of pax", /not all read alike/, pax("x", ["path", ""]), file],
    ["sparse of pax", /sparse/, pax("x", ["GNU.sparse.realsize", "1099511627776"]), file],
    ["sparse of GNU", /sparse/, piece({ type: "S", content })],
    ["multi-volume", /kind "M"/, piece({ type: "M", content })],
    ["a link with content", /with content/, piece({ type: "2", content: hidden })],
    ["a directory with content by pax", /with content/, pax("x", ["size", big]), piece({ type: "5" }), hidden],
    ["an old file that is a directory", /directory's name/, piece({ type: "\0", name: "d/", content: hidden })],
    ["a record that is none", /not sound/, piece({ type: "x", content: Buffer.from("99 size=1\n") }), file],
    ["an extended header of nothing", /cut off/, pax("x", ["size", big])],
    ["a size below zero", /no sound size/, pax("x", ["size", "-1"]), file],
    ["a size that is none", /no sound size/, piece({ type: "0", sizeField: "12z", content })],
  ];
  for (const [title, why, ...pieces] of cases) assert.match(refusal(archive(...pieces)), why, title);
  // Go reads a size behind NULs; it hides nothing.
  assert.is(walked(archive(piece({ type: "0", content, sizeField: "\0\0\u000012" }))).bytes, 10);
});

test("whatever headers follow each other: what is taken, no reader unpacks to more entries or bytes than were counted", () => {
  const size = fc.constantFrom("0", "10", "512", "1024", "1536");
  const one = fc.oneof(
    fc.record({ type: fc.constantFrom("x", "x", "x", "g", "X"), key: fc.constant("size"), value: size }),
    fc.record({
      type: fc.constantFrom("x", "x", "g"),
      key: fc.constantFrom("comment", "path", "GNU.sparse.realsize"),
      value: fc.constantFrom("", "7", "dir/", "1099511627776"),
    }),
    fc.record({
      type: fc.constantFrom("0", "0", "0", "\0", "7", "1", "2", "5", "S", "L", "K"),
      name: fc.constantFrom("f", "dir/"),
      blocks: fc.integer({ min: 0, max: 3 }),
      nested: fc.boolean(),
    }),
  );
  const pieceOf = (made: {
    type: string;
    key?: string;
    value?: string;
    name?: string;
    blocks?: number;
    nested?: boolean;
  }) => {
    if (made.key !== undefined) return pax(made.type, [made.key, made.value!]);
    const inner = made.nested ? hidden.subarray(0, made.blocks! * BLOCK) : Buffer.alloc(made.blocks! * BLOCK, 65);
    return piece({ type: made.type, name: made.name!, content: inner });
  };
  let taken = 0;
  fc.assert(
    fc.property(fc.array(one, { maxLength: 5 }), (made) => {
      const bytes = archive(...made.map(pieceOf));
      if (refusal(bytes) !== "taken") return;
      taken++;
      const counted = walked(bytes);
      for (const reader of Object.values(READERS)) {
        const seen = unpacked(bytes, reader);
        assert.ok(seen.entries <= counted.entries && seen.bytes <= counted.bytes, JSON.stringify({ seen, counted }));
        assert.equal(seen.names, counted.names);
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(taken > 100, `${taken} were taken`);
});

test.run();
