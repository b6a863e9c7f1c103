// Who takes in durable records, in the order of a list that is refused when one would read what is not there yet.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { openStore } from "../../control/store/store.ts";
import { checkOrder, follow } from "../../control/wiring/followers.ts";
import { inScratch } from "./store/scratch.ts";

test("each record goes through the list from its beginning to its end, until nobody follows any more", () =>
  inScratch(async (directory) => {
    const store = await openStore({ directory, log: silentLog() });
    const put = (value: number) => store.commit({ actor: "test", mutations: [{ key: "a/1", value }] });
    const taken: string[] = [];
    const followers = ["first", "second", "third"].map((name, index) => ({
      name,
      take: ({ seq }: { seq: number }) => void taken.push(`${seq} ${name}`),
      reads: index === 0 ? [] : ["first"],
    }));
    const stop = follow(store, followers);
    await put(1);
    await put(2);
    stop();
    await put(3);
    assert.equal(taken, ["1 first", "1 second", "1 third", "2 first", "2 second", "2 third"]);
    await store.close();
  }));

test("a list in which one reads what comes after it, or what is not there, is refused, and so is a name that is there twice", () => {
  checkOrder([{ name: "a" }, { name: "b", reads: ["a"] }]);
  assert.throws(
    () => checkOrder([{ name: "b", reads: ["a"] }, { name: "a" }]),
    "b reads a, which has to come before it",
  );
  assert.throws(() => checkOrder([{ name: "b", reads: ["b"] }]), "b reads b");
  assert.throws(() => checkOrder([{ name: "a" }, { name: "c", reads: ["a", "x"] }]), "c reads x");
  assert.throws(() => checkOrder([{ name: "a" }, { name: "a" }]), "twice");
});

test.run();
