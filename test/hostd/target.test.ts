import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HostTarget } from "#api/host-agents.ts";
import { refuseTarget, removeTarget } from "../../hostd/target.ts";
import { job, target } from "./jobs.ts";

const seen = { term: 5, seq: 10 };
const TABLE: [claim: string, incoming: Partial<HostTarget>, refusal: RegExp | undefined][] = [
  ["the next target counts", { term: 5, seq: 11 }, undefined],
  ["the same one again counts", { term: 5, seq: 10 }, undefined],
  ["a new term counts, with any seq", { term: 6, seq: 1 }, undefined],
  ["an older term is refused", { term: 4, seq: 99 }, /its term 4 is older than 5/],
  ["an older seq of the same term is refused", { term: 5, seq: 9 }, /its seq 9 is older than 10/],
  ["another host's target is refused", { term: 6, hostId: "host-2" }, /it is for host host-2/],
  ["a target without numbers is none", { term: "6" as never }, /not a target/],
  ["a target without jobs is none", { term: 6, jobs: undefined as never }, /not a target/],
  ["a subnet that is none is refused", { term: 6, subnet: "100.64.7.0" }, /not IPv4 CIDR/],
  ["an app name that leaves its directory is refused", { term: 6, jobs: [job({ app: "../x" })] }, /no proper name/],
  ["a job id that is no container name is refused", { term: 6, jobs: [job({ id: "a/b" })] }, /no proper name/],
  ["a field of a newer control is no reason to refuse", { term: 6, ...{ colour: "blue" } }, undefined],
];
for (const [claim, incoming, refusal] of TABLE)
  test(claim, () => {
    const found = refuseTarget(target([], incoming), seen, "host-1");
    if (refusal === undefined) assert.is(found, undefined);
    else assert.match(found ?? "", refusal);
  });

test("the first target ever counts", () => {
  assert.is(refuseTarget(target([job()]), undefined, "host-1"), undefined);
});

test("a target that is not to be on the disk any more goes, with the half of one that a killed hostd of this number left", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-target-"));
  try {
    for (const name of ["target.json", `target.json.${process.pid}.tmp`, "state.json"])
      await writeFile(join(directory, name), "{}");
    await removeTarget(directory);
    assert.equal(await readdir(directory), ["state.json"]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.run();
