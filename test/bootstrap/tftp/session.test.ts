// One open transfer without a socket: what it sends to what it is told, and how it ends.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { bufferFile, type TftpFile } from "../../../bootstrap/tftp/files.ts";
import { frameCache } from "../../../bootstrap/tftp/frames.ts";
import { decode } from "../../../bootstrap/tftp/packet.ts";
import { type Session, startSession } from "../../../bootstrap/tftp/session.ts";
import { DEFAULT_RULES, type TransferPlan } from "../../../bootstrap/tftp/transfer.ts";

interface World {
  session: Session;
  sent: string[];
  ends: string[];
  clock: { ms: number };
}

/** What was sent: `oack`, `data 1 abc`, `error 0 why`. */
function described(bytes: Buffer): string {
  const packet = decode(bytes)!;
  if (packet.op === "data") return `data ${packet.block} ${packet.payload.toString()}`;
  if (packet.op === "error") return `error ${packet.code} ${packet.message}`;
  return packet.op === "oack" ? `oack ${[...packet.options].join(" ")}` : packet.op;
}

function open(file: TftpFile, over: Partial<TransferPlan> = {}, cacheBytes = 1 << 20): World {
  const world = { sent: [], ends: [], clock: { ms: 0 } } as unknown as World;
  const plan: TransferPlan = {
    sizeBytes: file.sizeBytes,
    blksize: 8,
    windowsize: 1,
    timeoutMs: undefined,
    hasOack: false,
    rules: DEFAULT_RULES,
    ...over,
  };
  world.session = startSession({
    plan,
    oack: new Map([["tsize", String(file.sizeBytes)]]),
    file,
    frames: frameCache(cacheBytes),
    now: () => world.clock.ms,
    send: (packet, offset, length) => world.sent.push(described(Buffer.from(packet.subarray(offset, offset + length)))),
    onEnd: (end, { acked }) => world.ends.push(end.ok ? `ok ${acked}` : `${end.why} ${end.detail}`),
  });
  return world;
}
const ack = (block: number) => ({ op: "ack", block }) as const;
const content = bufferFile(Buffer.from("0123456789abcdefXYZ"));
const BLOCKS = ["data 1 01234567", "data 2 89abcdef", "data 3 XYZ"];

test("each ACK brings the next block, the last one the end, told once", () => {
  const { session, sent, ends } = open(content);
  for (const block of [1, 2, 2, 3, 3]) session.packet(ack(block));
  session.repeat();
  session.abort("closed", "");
  assert.equal(sent, BLOCKS);
  assert.equal(ends, ["ok 3"]);
});

test("an OACK goes first when one was agreed, a window in one go, and no more than the file has", () => {
  const { session, sent, ends } = open(content, { hasOack: true, windowsize: 2 });
  assert.equal(sent, ["oack tsize,19"]);
  session.packet(ack(0));
  assert.equal(sent.slice(1), BLOCKS.slice(0, 2));
  session.packet(ack(2));
  assert.equal(sent.slice(3), BLOCKS.slice(2));
  session.packet(ack(3));
  assert.equal(ends, ["ok 3"]);
});

test("the same request again brings the first packet again; a packet that is neither ACK nor ERROR brings nothing", () => {
  const { session, sent, ends } = open(content);
  session.repeat();
  session.packet({ op: "data", block: 1, payload: Buffer.alloc(0) });
  assert.equal(sent, [BLOCKS[0], BLOCKS[0]]);
  session.abort("closed", "stop");
  assert.equal(ends, ["closed stop"]);
  assert.is(sent.length, 2, "an address that never answered is told nothing");
});

test("a client that answered is told why its transfer ends, unless it said so itself or asked anew", () => {
  for (const [why, told] of [
    ["evicted", true],
    ["closed", true],
    ["superseded", false],
  ] as const) {
    const { session, sent, ends } = open(content);
    session.packet(ack(1));
    session.abort(why, "x");
    assert.equal(sent.slice(2), told ? [`error 0 ${why}`] : [], why);
    assert.equal(ends, [`${why} x`]);
  }
  const failed = open(content);
  failed.session.packet(ack(1));
  failed.session.packet({ op: "error", code: 3, message: "disk full" });
  assert.equal([failed.sent.length, failed.ends], [2, ["client-error error 3 disk full"]]);
  const declined = open(content, { hasOack: true });
  declined.session.packet({ op: "error", code: 8, message: "" });
  assert.equal([declined.sent, declined.ends], [["oack tsize,19"], ["declined error 8"]]);
});

/** A file whose reads end when the test says so. */
function slow(bytes: Buffer) {
  const reads: { offset: number; give: () => void; fail: (error: Error) => void }[] = [];
  const file: TftpFile = {
    sizeBytes: bytes.length,
    read: (offset, length) =>
      new Promise((resolve, reject) =>
        reads.push({ offset, give: () => resolve(bytes.subarray(offset, offset + length)), fail: reject }),
      ),
  };
  return { file, reads };
}
const soon = (isSo: () => boolean) => until(isSo, { what: "what was read", timeoutMs: 10_000, everyMs: 1 });

test("a file that takes time is sent once it is there, and read one segment ahead", async () => {
  const bytes = Buffer.alloc(150_000, "x");
  const { file, reads } = slow(bytes);
  const { session, sent, ends } = open(file, { blksize: 32_768 });
  assert.equal([sent.length, reads.map(({ offset }) => offset)], [0, [0]]);
  reads[0]!.give();
  await soon(() => sent.length === 1 && reads.length === 2);
  assert.is(reads[1]!.offset, 65_536);
  session.packet(ack(1));
  assert.is(sent.length, 2, "the same segment");
  session.packet(ack(2));
  assert.is(reads.length, 2, "the one that was read ahead is waited for");
  reads[1]!.give();
  await soon(() => sent.length === 3 && reads.length === 3);
  session.packet(ack(3));
  session.packet(ack(4));
  reads[2]!.give();
  await soon(() => sent.length === 5);
  assert.is(reads.length, 3, "nothing lies behind the last segment");
  session.packet(ack(5));
  assert.equal(ends, ["ok 5"]);
});

test("what was read for a packet that is not wanted any more is not sent", async () => {
  const { file, reads } = slow(Buffer.from("0123456789"));
  const { session, sent, ends } = open(file);
  session.repeat();
  reads[0]!.give();
  await soon(() => sent.length > 0);
  assert.equal(sent, ["data 1 01234567"], "asked twice, sent once");
  const other = slow(Buffer.from("0123456789"));
  const ended = open(other.file);
  ended.session.abort("closed", "x");
  other.reads[0]!.give();
  session.packet(ack(1));
  session.packet(ack(2));
  assert.equal([ends, ended.sent, ended.ends], [["ok 2"], [], ["closed x"]]);
});

test("a file that cannot be read ends the transfer with the reason, whether it fails at once or later", async () => {
  const atOnce = open({
    sizeBytes: 10,
    read: () => {
      throw new Error("gone");
    },
  });
  assert.equal(atOnce.ends, ["read-failed Error: gone"]);
  const { file, reads } = slow(Buffer.from("0123456789"));
  const later = open(file);
  reads[0]!.fail(new Error("gone"));
  await soon(() => later.ends.length > 0);
  assert.equal(later.ends, ["read-failed Error: gone"]);
});

test("a segment that could not be read ahead is read again when it is needed", async () => {
  const bytes = Buffer.alloc(70_000, "x");
  let [reads, isBroken] = [0, true];
  const file: TftpFile = {
    sizeBytes: bytes.length,
    read(offset, length) {
      reads++;
      if (offset > 0 && isBroken) throw new Error("not yet");
      return bytes.subarray(offset, offset + length);
    },
  };
  const { session, sent, ends } = open(file, { blksize: 65_464 });
  assert.equal([sent.length, reads], [1, 2]);
  isBroken = false;
  session.packet(ack(1));
  session.packet(ack(2));
  assert.equal([sent.length, ends], [2, ["ok 2"]]);
});

test("silence is answered by the transfer's own timer, and its end stops the timer", async () => {
  const rules = { ...DEFAULT_RULES, firstRtoMs: 5, minRtoMs: 5, unprovenSends: 3, quickResends: 5 };
  const world = open(content, { rules });
  const started = performance.now();
  const timed = setInterval(() => {
    world.clock.ms = performance.now() - started;
  }, 1);
  try {
    await soon(() => world.ends.length > 0);
  } finally {
    clearInterval(timed);
  }
  assert.equal(world.sent, [BLOCKS[0], BLOCKS[0], BLOCKS[0]]);
  assert.equal(world.ends, ["timeout no ACK after block 0 of 3"]);
});

test.run();
