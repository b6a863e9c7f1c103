import { readdir } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createLog, silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { fixedFiles, type TftpFile } from "../../../bootstrap/tftp/files.ts";
import { encodeAck, encodeError } from "../../../bootstrap/tftp/packet.ts";
import { type TftpOptions, type TftpServer, type TransferEvent, tftpServer } from "../../../bootstrap/tftp/server.ts";
import { download } from "./client.ts";
import { content } from "./content.ts";
import { type Peer, peer } from "./peer.ts";

const FILE = content(5000);
const RRQ = "\0\x01file\0octet\0";
const OACK_RRQ = `${RRQ}tsize\x000\0`;

async function withServer(
  over: Partial<TftpOptions>,
  body: (at: { server: TftpServer; port: number; a: Peer; b: Peer; events: TransferEvent[] }) => Promise<void>,
): Promise<void> {
  const events: TransferEvent[] = [];
  const files = fixedFiles([
    ["file", FILE],
    ["empty", Buffer.alloc(0)],
  ]);
  const server = await tftpServer({
    address: "127.0.0.1",
    port: 0,
    files,
    log: silentLog(),
    onTransfer: (event) => events.push(event),
    ...over,
  });
  const [a, b] = await Promise.all([peer(), peer("127.0.0.2")]);
  try {
    await body({ server, port: server.address.port, a, b, events });
  } finally {
    await Promise.all([a.close(), b.close(), server.close()]);
  }
}

test("each transfer answers from a port of its own, and ends with a done event of its bytes", () =>
  withServer({}, async ({ server, port, a, events }) => {
    const { bytes } = await download({ address: "127.0.0.1", port, name: "file", blksize: 1000, windowsize: 4 });
    assert.is(bytes, 5000);
    await until(() => server.stats.active === 0, { what: "the end", timeoutMs: 1000, everyMs: 5 });
    assert.equal(
      events.map(({ kind, name, sizeBytes, blksize, windowsize }) => ({ kind, name, sizeBytes, blksize, windowsize })),
      [
        { kind: "start", name: "file", sizeBytes: 5000, blksize: 1000, windowsize: 4 },
        { kind: "done", name: "file", sizeBytes: 5000, blksize: 1000, windowsize: 4 },
      ],
    );
    const done = events[1]!;
    assert.ok(done.kind === "done" && done.bytes === 5000 && done.ms >= 0);
    a.send(RRQ, port);
    assert.is.not((await a.next()).port, port);
  }));

test("in single-port mode every packet comes from the well-known port, for many clients at once", () =>
  withServer({ singlePort: true, limits: { transfersPerClient: 100 } }, async ({ server, port, a }) => {
    a.send(OACK_RRQ, port);
    assert.is((await a.next()).port, port);
    a.send(encodeAck(0), port);
    assert.is((await a.next()).port, port);
    const all = await Promise.all(
      Array.from({ length: 30 }, () =>
        download({ address: "127.0.0.1", port, name: "file", blksize: 600, windowsize: 3 }),
      ),
    );
    assert.ok(all.every(({ bytes }) => bytes === 5000));
    await until(() => server.stats.done === 30, { what: "30 transfers done", timeoutMs: 2000, everyMs: 5 });
  }));

test("a foreign TID gets ERROR 5 and the transfer goes on (RFC 1350 section 4)", () =>
  withServer({}, async ({ port, a, b }) => {
    a.send(RRQ, port);
    const first = await a.next();
    b.send(encodeError(0, "die"), first.port);
    b.send(encodeAck(1), first.port);
    assert.is((await b.next()).packet.toString("hex", 0, 4), "00050005");
    a.send(encodeAck(1), first.port);
    assert.is((await a.next()).packet.readUInt16BE(2), 2);
    assert.is(b.received.length, 1, "an ERROR is never answered");
  }));

test("a write gets ERROR 2, an unknown name ERROR 1, a bad mode or a broken request ERROR 4", () =>
  withServer({}, async ({ port, a, server }) => {
    const table: [string, string][] = [
      ["\0\x02file\0octet\0", "00050002"],
      ["\0\x01nothing\0octet\0", "00050001"],
      ["\0\x01../file\0octet\0", "00050001"],
      ["\0\x01__proto__\0octet\0", "00050001"],
      ["\0\x01file\0mail\0", "00050004"],
      ["\0\x01file", "00050004"],
      ["\0\x01", "00050004"],
      ["\0\x01\0\0", "00050004"],
    ];
    for (const [packet, reply] of table) {
      a.send(packet, port);
      assert.is((await a.next()).packet.toString("hex", 0, 4), reply, JSON.stringify(packet));
    }
    assert.is(server.stats.active, 0);
  }));

test("netascii is served as octet, and names are found as firmware writes them", () =>
  withServer({}, async ({ port, a }) => {
    for (const packet of ["\0\x01file\0netascii\0", "\0\x01\\file\xff\0OCTET\0"]) {
      const one = await peer();
      one.send(packet, port);
      const { packet: data } = await one.next();
      assert.ok(data.subarray(4).equals(FILE.subarray(0, 512)));
      await one.close();
    }
    a.send("\0\x01/empty\0octet\0", port);
    assert.is((await a.next()).packet.toString("hex"), "00030001");
  }));

test("an unknown name is logged once, however often it is asked", async () => {
  const lines: string[] = [];
  const log = createLog("test", { destination: { write: (line) => void lines.push(line) } });
  await withServer({ log }, async ({ port, a, server }) => {
    for (let i = 0; i < 5; i++) {
      a.send("\0\x01autoexec.ipxe\0octet\0", port);
      await a.next();
    }
    assert.is(server.stats.notFound, 5);
  });
  assert.is(lines.filter((line) => line.includes("autoexec.ipxe")).length, 1);
});

test("ERROR 8 after the OACK is a declined transfer, and the client may ask again from the same port", () =>
  withServer({}, async ({ port, a, events }) => {
    a.send(OACK_RRQ, port);
    const oack = await a.next();
    assert.is(oack.packet.toString("latin1"), "\0\x06tsize\x005000\0");
    a.send(encodeError(8, "User aborted the transfer"), oack.port);
    a.send(RRQ, port);
    assert.is((await a.next()).packet.toString("hex", 0, 4), "00030001");
    const declined = events[1]!;
    assert.ok(declined.kind === "aborted" && declined.why === "declined");
  }));

test("the same request from the same port is the same transfer; another one replaces it", () =>
  withServer({}, async ({ server, port, a, events }) => {
    a.send(RRQ, port);
    const first = await a.next();
    a.send(RRQ, port);
    const again = await a.next();
    assert.is(again.port, first.port);
    assert.ok(again.packet.equals(first.packet));
    assert.is(server.stats.started, 1);
    a.send(OACK_RRQ, port);
    assert.is((await a.next()).packet[1], 6);
    assert.is(server.stats.active, 1);
    assert.ok(events.some((event) => event.kind === "aborted" && event.why === "superseded"));
  }));

test("before its first ACK an address gets little more than it sent, however often it asks", () =>
  withServer({}, async ({ port, a }) => {
    for (let i = 0; i < 50; i++) a.send("\0\x01file\0octet\0blksize\x001468\0windowsize\x0064\0", port);
    await a.next();
    a.send("\0\x01nothing\0octet\0", port); // sorted behind the others: when it is answered, they are
    await until(() => a.received.some(({ packet }) => packet[1] === 5), {
      what: "the last answer",
      timeoutMs: 2000,
      everyMs: 5,
    });
    const sent = 50 * 43;
    const got = a.received.reduce((sum, { packet }) => sum + packet.length, 0);
    assert.ok(got < sent / 4, `${got} bytes for ${sent}`);
    assert.not(
      a.received.some(({ packet }) => packet[1] === 3),
      "DATA to an address that proved nothing",
    );
  }));

test("a client holds at most its share: its oldest transfer gives way, others keep theirs", () =>
  withServer({ limits: { transfersPerClient: 3, transfers: 100 } }, async ({ server, port, b, events }) => {
    b.send(RRQ, port);
    await b.next();
    const peers = await Promise.all(Array.from({ length: 10 }, () => peer()));
    for (const one of peers) {
      one.send(RRQ, port);
      await one.next();
    }
    assert.is(server.stats.active, 4);
    assert.is(events.filter((event) => event.kind === "aborted" && event.why === "evicted").length, 7);
    await Promise.all(peers.map((one) => one.close()));
  }));

test("thousands of requests without an ACK leave a bounded number of sockets, and none after their time", async () => {
  const fds = async () => (await readdir("/proc/self/fd")).length;
  const before = await fds();
  const rules = { firstRtoMs: 50, maxRtoMs: 50, quietMs: 50, oackQuietMs: 50, unprovenSends: 3 };
  await withServer({ limits: { transfers: 40, transfersPerClient: 1000 }, rules }, async ({ server, port }) => {
    const peers = await Promise.all(Array.from({ length: 300 }, () => peer()));
    for (let round = 0; round < 10; round++) {
      for (const [i, one] of peers.entries()) one.send(`${RRQ}tsize\x00${round}${i}\0`, port);
      await until(() => peers[0]!.received.length > round, { what: "a reply", timeoutMs: 3000, everyMs: 2 }).catch(
        () => undefined,
      );
      assert.ok(server.stats.active <= 40, `${server.stats.active} active`);
      assert.ok((await fds()) < before + peers.length + 40 + 120, `${await fds()} descriptors`);
    }
    await Promise.all(peers.map((one) => one.close()));
    await until(() => server.stats.active === 0, { what: "the last transfer's end", timeoutMs: 5000, everyMs: 20 });
  });
  await until(async () => (await fds()) <= before + 2, { what: "all descriptors closed", timeoutMs: 3000 });
});

test("200 clients at once all get the file", () =>
  withServer(
    { limits: { transfersPerClient: 200 }, files: fixedFiles([["file", content(300_000)]]) },
    async ({ server, port }) => {
      const want = content(300_000);
      const all = await Promise.all(
        Array.from({ length: 200 }, async (_, i) => {
          const chunks: Buffer[] = [];
          const onBlock = (payload: Buffer) => void chunks.push(Buffer.from(payload));
          await download({
            address: "127.0.0.1",
            port,
            name: "file",
            blksize: 1468,
            windowsize: (i % 4) * 2 + 1,
            onBlock,
            timeoutMs: 40_000,
          });
          return Buffer.concat(chunks).equals(want);
        }),
      );
      assert.equal(all.filter(Boolean).length, 200);
      await until(() => server.stats.active === 0, { what: "the end of all", timeoutMs: 3000, everyMs: 10 });
    },
  ));

test("files that read slowly are served right, and one that fails ends its transfer with an ERROR", async () => {
  const bytes = content(300_000);
  const slow: TftpFile = {
    sizeBytes: bytes.length,
    read: (offset, length) =>
      new Promise((resolve) => setImmediate(() => resolve(bytes.subarray(offset, offset + length)))),
  };
  const broken: TftpFile = {
    sizeBytes: bytes.length,
    read: async (offset, length) => {
      if (offset > 0) throw new Error("disk gone");
      return bytes.subarray(offset, offset + length);
    },
  };
  await withServer(
    {
      files: fixedFiles([
        ["slow", slow],
        ["broken", broken],
      ]),
    },
    async ({ port, events }) => {
      const chunks: Buffer[] = [];
      await download({
        address: "127.0.0.1",
        port,
        name: "slow",
        blksize: 1000,
        windowsize: 7,
        onBlock: (payload) => void chunks.push(Buffer.from(payload)),
      });
      assert.ok(Buffer.concat(chunks).equals(bytes));
      await download({ address: "127.0.0.1", port, name: "broken", blksize: 1000 }).then(
        () => assert.unreachable(),
        (error: Error) => assert.match(error.message, /error 0 read-failed/),
      );
      const aborted = events.at(-1)!;
      assert.ok(aborted.kind === "aborted" && aborted.why === "read-failed" && aborted.detail.includes("disk gone"));
    },
  );
});

test("an open that throws, or an event handler that throws, ends nothing but its own request", () =>
  withServer(
    {
      files: {
        open: (name) =>
          name === "bad" ? Promise.reject(new Error("no")) : { sizeBytes: 3, read: () => Buffer.from("abc") },
      },
      onTransfer: () => {
        throw new Error("handler");
      },
    },
    async ({ port, a }) => {
      a.send("\0\x01bad\0octet\0", port);
      assert.is((await a.next()).packet.toString("hex", 0, 4), "00050000");
      assert.is((await download({ address: "127.0.0.1", port, name: "good" })).bytes, 3);
    },
  ));

test("close tells who is being served and leaves the port free; a taken port is a clear error", async () => {
  let port = 0;
  await withServer({}, async ({ server, port: bound, a, events }) => {
    port = bound;
    const taken = await tftpServer({ address: "127.0.0.1", port, files: fixedFiles([]), log: silentLog() }).catch(
      (error: Error) => error,
    );
    assert.ok(taken instanceof Error);
    assert.is(taken.message, `bind udp 127.0.0.1 port ${port}`);
    a.send(RRQ, bound);
    const first = await a.next();
    a.send(encodeAck(1), first.port);
    await a.next();
    await server.close();
    assert.is((await a.next()).packet.toString("hex", 0, 4), "00050000");
    assert.ok(events.some((event) => event.kind === "aborted" && event.why === "closed"));
  });
  const again = await tftpServer({ address: "127.0.0.1", port, files: fixedFiles([]), log: silentLog() });
  await again.close();
});

test.run();
