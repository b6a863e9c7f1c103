// Any bytes at the server's ports, from many clients: it never throws, keeps serving, and keeps no transfer.
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { fixedFiles } from "../../../bootstrap/tftp/files.ts";
import { tftpServer } from "../../../bootstrap/tftp/server.ts";
import { download } from "./client.ts";
import { content } from "./content.ts";
import { peer } from "./peer.ts";

const text = fc.oneof(
  fc.constantFrom("file", "..", "__proto__", "octet", "blksize", "windowsize", "tsize", "timeout", "0", "65464", "1"),
  fc.string({ unit: "binary", maxLength: 20 }),
);
const request = fc
  .tuple(fc.constantFrom(1, 2), fc.array(text, { maxLength: 12 }), fc.boolean())
  .map(([opcode, parts, ended]) =>
    Buffer.concat([Buffer.from([0, opcode]), Buffer.from(parts.join("\0") + (ended ? "\0" : ""), "latin1")]),
  );
const valid = fc
  .tuple(fc.integer({ min: 1, max: 70000 }), fc.integer({ min: 0, max: 100 }))
  .map(([blksize, window]) => Buffer.from(`\0\x01file\0octet\0blksize\0${blksize}\0windowsize\0${window}\0`, "latin1"));
const short = fc
  .tuple(fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 8 }))
  .map(([opcode, rest]) => Buffer.from([0, opcode, ...rest]));
const packets = fc.array(fc.oneof(request, valid, short, fc.uint8Array({ maxLength: 1200 })), {
  minLength: 1,
  maxLength: 25,
});

for (const singlePort of [false, true]) {
  test(`hostile packets on every port leave no transfer and no error${singlePort ? ", on a single port" : ""}`, async () => {
    const rules = {
      idleMs: 1_000,
      firstRtoMs: 20,
      minRtoMs: 10,
      maxRtoMs: 50,
      quietMs: 50,
      oackQuietMs: 50,
      unprovenSends: 2,
    };
    const files = fixedFiles([["file", content(100_000)]]);
    const server = await tftpServer({
      address: "127.0.0.1",
      port: 0,
      files,
      log: silentLog(),
      rules,
      singlePort,
      limits: { transfersPerClient: 20 },
    });
    const peers = await Promise.all(Array.from({ length: 5 }, () => peer()));
    const thrown: unknown[] = [];
    const onThrown = (error: unknown) => thrown.push(error);
    process.on("uncaughtException", onThrown);
    process.on("unhandledRejection", onThrown);
    try {
      await fc.assert(
        fc.asyncProperty(packets, async (list) => {
          for (const [i, packet] of list.entries()) {
            const from = peers[i % peers.length]!;
            from.send(packet, server.address.port);
            // And at the transfer that answered last, in turn from its own client and from a stranger.
            const transferPort = from.received.at(-1)?.port;
            if (transferPort !== undefined) peers[(i * 3) % peers.length]!.send(packet, transferPort);
          }
          const { bytes } = await download({
            address: "127.0.0.1",
            port: server.address.port,
            name: "file",
            blksize: 1468,
            windowsize: 16,
            resendMs: 100,
          });
          assert.is(bytes, 100_000);
          assert.equal(thrown, []);
        }),
        { numRuns: 150 },
      );
      await until(() => server.stats.active === 0, { what: "the end of all transfers", timeoutMs: 5000, everyMs: 10 });
      assert.ok(server.stats.started > 150 && server.stats.malformed > 10, JSON.stringify(server.stats));
      assert.equal(thrown, []);
    } finally {
      process.off("uncaughtException", onThrown);
      process.off("unhandledRejection", onThrown);
      await Promise.all([...peers.map((one) => one.close()), server.close()]);
    }
  });
}

test.run();
