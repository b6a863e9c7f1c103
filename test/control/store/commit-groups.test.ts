// Which records a group takes along, and which it never does once writing has failed.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { commitGroups, InDoubt } from "../../../control/store/commit-groups.ts";

function beside(write: (staged: string[]) => Promise<void>) {
  const failures: unknown[] = [];
  const groups = commitGroups<string[]>({
    ...{ begin: () => [], maxRecords: 10, maxBytes: 1_000, promptRecords: 10 },
    write,
    onFailure: (error) => void failures.push(error),
  });
  const add = (name: string) => groups.add(1, (staged) => staged.push(name));
  const fate = (work: Promise<void>) =>
    work.then(
      () => "written",
      (error: unknown) => (error instanceof InDoubt ? "in doubt" : "refused"),
    );
  return { groups, add: (name: string) => fate(add(name)), fate, failures };
}

test("what waits behind a group that fails is refused and never written; the group itself is in doubt", async () => {
  const written: string[][] = [];
  const { groups, add, failures } = beside(async (staged) => {
    written.push(staged);
    if (staged.includes("a")) throw new Error("no room");
  });
  const first = add("a");
  const between = groups.between(async () => undefined).catch(() => undefined);
  const second = add("b");
  assert.equal([await first, await second], ["in doubt", "refused"]);
  await between;
  assert.equal(written, [["a"]]);
  assert.is(failures.length, 1);
  groups.resume();
  assert.is(await add("c"), "written");
});

test("what waits behind a write between two groups that fails is refused too: nothing goes on over a disk that is to be opened anew", async () => {
  const written: string[][] = [];
  const { groups, add, fate } = beside(async (staged) => void written.push(staged));
  const between = groups.between(async () => {
    const error = new Error("no room");
    groups.fail(error);
    throw error;
  });
  const after = add("a");
  assert.equal([await fate(between), await after, await add("b")], ["refused", "refused", "refused"]);
  assert.equal(written, []);
  groups.resume();
  assert.is(await add("c"), "written");
});

test.run();
