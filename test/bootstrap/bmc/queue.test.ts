// One thing at a time for each BMC, in order, and no line without end.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { queues, WAITING_MOST } from "../../../bootstrap/bmc/queue.ts";
import { troubleCode } from "../../../bootstrap/bmc/trouble.ts";

test("what is given for one BMC runs one after the other, whatever fails; other BMCs do not wait for it", async () => {
  const turns = queues();
  const ran: string[] = [];
  const { promise: slow, resolve } = Promise.withResolvers<void>();
  const first = turns.run("a", async () => {
    await slow;
    ran.push("a1");
    throw new Error("it failed");
  });
  const second = turns.run("a", async () => ran.push("a2"));
  await turns.run("b", async () => ran.push("b"));
  assert.equal(ran, ["b"]);
  resolve();
  assert.is(await first.catch((error: Error) => error.message), "it failed");
  await second;
  assert.equal(ran, ["b", "a1", "a2"]);
  await Promise.resolve();
  assert.is(turns.size, 0);
});

test("a BMC that never answers has a line of a bounded length: what comes then is told so, and it has room again later", async () => {
  const turns = queues();
  const { promise: slow, resolve } = Promise.withResolvers<void>();
  const lined = Array.from({ length: WAITING_MOST }, () => turns.run("a", () => slow));
  const refused = await turns.run("a", () => slow).catch((error: unknown) => error);
  assert.is(troubleCode(refused), "bmc-busy");
  await turns.run("b", async () => undefined);
  resolve();
  await Promise.all(lined);
  await turns.run("a", async () => undefined);
});

test.run();
