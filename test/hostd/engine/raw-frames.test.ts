import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { rawFrames } from "../../../hostd/engine/raw-frames.ts";

const piece = fc.record({
  stream: fc.constantFrom("stdout" as const, "stderr" as const),
  data: fc.uint8Array({ maxLength: 300 }),
});

test("both streams come out byte for byte, however the connection cuts the pieces", () =>
  fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 10 }), fc.integer({ min: 1, max: 50 }), async (pieces, cut) => {
      const wire = Buffer.concat(
        pieces.map(({ stream, data }) => {
          const header = Buffer.alloc(8);
          header[0] = stream === "stderr" ? 2 : 1;
          header.writeUInt32BE(data.length, 4);
          return Buffer.concat([header, data]);
        }),
      );
      const chunks = async function* () {
        for (let at = 0; at < wire.length; at += cut) yield wire.subarray(at, at + cut);
      };
      const got = { stdout: "", stderr: "" };
      for await (const { stream, data } of rawFrames(chunks())) got[stream] += data.toString("hex");
      for (const stream of ["stdout", "stderr"] as const)
        assert.is(
          got[stream],
          pieces
            .filter((each) => each.stream === stream)
            .map(({ data }) => Buffer.from(data).toString("hex"))
            .join(""),
        );
    }),
  ));

test.run();
