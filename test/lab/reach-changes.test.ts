// What hostd changes of its table in the kernel, against the same table made anew: nft itself, in two namespaces without a way out.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { changesText, isAsMeant } from "../../hostd/reach/changes.ts";
import { reachText, TABLE } from "../../hostd/reach/rules.ts";
import { inputs } from "../hostd/reach/inputs.ts";
import { openLan } from "./network.ts";
import { withScope } from "./scope.ts";

/** The listing, its blocks in the order of their names: the kernel keeps them as they came. */
const sorted = (listing: string): string[] =>
  listing
    .split(/\n\n|\n\t\}\n/)
    .map((block) => block.trim())
    .sort();

test("a table that was changed again and again is, in the kernel, the one that would be made anew", () =>
  withScope(async (scope) => {
    const lan = await openLan(scope);
    const [one, other] = [await lan.host("changed", "10.77.0.61"), await lan.host("anew", "10.77.0.62")];
    const nft = async ({ exec }: typeof one, input: string): Promise<string> => {
      await exec(["nft", "-f", "-"], { input });
      return (await exec(["nft", "--stateless", "list", "table", "inet", TABLE])).stdout;
    };
    let [before, found, changed] = ["", "", 0];
    for (const input of fc.sample(inputs, { numRuns: 60, seed: 8 })) {
      const after = reachText(input);
      const changes = before === "" ? undefined : changesText(before, after);
      const foundAfter = await nft(one, changes ?? after);
      assert.equal(sorted(foundAfter), sorted(await nft(other, after)), changes);
      if (changes !== undefined) {
        changed++;
        assert.ok(isAsMeant({ before, after, found, foundAfter }), changes);
      }
      [before, found] = [after, foundAfter];
    }
    assert.ok(changed > 5, `${changed} of them were changes`);
  }));

test.run();
