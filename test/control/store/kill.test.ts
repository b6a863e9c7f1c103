// A killed control plane: what was acknowledged is there at the next start.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { viewOf } from "../../contract/replica.ts";
import { inScratch } from "./scratch.ts";
import { mutationsOf, workloadView, writeAndKill } from "./workload.ts";

test("kill -9 in the middle of writing, five times: every acknowledged record is there, in order, and the view is theirs", () =>
  inScratch(async (directory) => {
    let last = 0;
    for (let round = 0; round < 5; round++) {
      const acknowledged = await writeAndKill(directory, 300 + 200 * round);
      assert.ok(acknowledged > last, "each round goes on where the last one was");
      last = acknowledged;
      const log = await openLevelLog({ directory, logger: silentLog(), retainRecords: 1000 });
      try {
        assert.ok(log.headSeq >= acknowledged, `${log.headSeq} of ${acknowledged}`);
        assert.is.not(log.report.outcome, "recovered", log.report.findings.join("; "));
        for (const record of await log.read(log.oldestSeq, 10_000))
          assert.equal(record.mutations, mutationsOf(record.seq));
        assert.equal(await viewOf(log), workloadView(log.headSeq));
      } finally {
        await log.close();
      }
    }
  }));

test.run();
