import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { changesText, isAsMeant } from "../../../hostd/reach/changes.ts";
import { reachText } from "../../../hostd/reach/rules.ts";
import { inputs } from "./inputs.ts";
import { nft, normal } from "./nft.ts";

test("whatever changes, the table after it is the one that would be made anew", () => {
  let changed = 0;
  fc.assert(
    fc.property(fc.array(inputs, { minLength: 2, maxLength: 6 }), (all) => {
      let table = "";
      let before: string | undefined;
      for (const after of all.map(reachText)) {
        const changes = before && changesText(before, after);
        const found = table;
        table = nft(table, changes ?? after);
        assert.equal(normal(table), normal(after));
        if (before !== undefined && changes !== undefined) {
          changed++;
          assert.ok(isAsMeant({ before, after, found, foundAfter: table }));
        }
        before = after;
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(changed > 0);
});

test("a job that comes or goes is some elements more or less, whatever runs beside it", () => {
  fc.assert(
    fc.property(inputs, ({ jobs, ...rest }) => {
      const appId = rest.target.reach?.apps[0]?.appId;
      const stays = [...jobs, { address: "100.64.7.200", appId }];
      const [without, withIt] = [stays, [...stays, { address: "100.64.7.201", appId }]].map((all) =>
        reachText({ ...rest, jobs: all }),
      ) as [string, string];
      for (const changes of [changesText(without, withIt), changesText(withIt, without)]) {
        assert.ok(changes !== undefined);
        for (const line of changes!.trim().split("\n"))
          assert.match(line, /^(?:add|delete) element inet flynn \w+ \{ .* \}$/);
      }
    }),
  );
});

test("a hook, an interval or the meaning of an address that changes takes the whole table", () => {
  const [input] = fc.sample(inputs, { numRuns: 1, seed: 1 });
  const jobs = [{ address: "100.64.7.2", appId: "app-1" }];
  const base = { ...input!, jobs, clusterAddresses: [] };
  const before = reachText(base);
  for (const [what, other] of [
    ["a hook", { jobBridge: "flynn9" }],
    ["an interval", { clusterAddresses: ["10.77.9.9"] }],
    ["an address of another app", { jobs: [{ address: "100.64.7.2", appId: "app-2" }] }],
  ] as const)
    assert.is(changesText(before, reachText({ ...base, ...other })), undefined, what);
});

test.run();
