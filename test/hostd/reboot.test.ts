// A reboot that control orders is done once, of the boot that it names, and tried again when it fails.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HostTarget } from "#api/host-agents.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { rebooter } from "../../hostd/reboot.ts";

const target = (reboot?: HostTarget["reboot"]) => (reboot === undefined ? {} : { reboot }) as HostTarget;
const rebooting = (fails = 0) => {
  const done = new AbortController();
  let asked = 0;
  const reboot = async () => {
    if (asked++ < fails) throw new Error("no");
  };
  const obey = rebooter({ bootId: "now", reboot, log: silentLog(), signal: done.signal });
  return { obey, asked: () => asked, stop: () => done.abort() };
};

test("an order for this boot is obeyed once, however often it is told", async () => {
  const { obey, asked, stop } = rebooting();
  obey(target());
  assert.is(asked(), 0);
  for (let n = 0; n < 3; n++) obey(target({ orderId: "r1", bootId: "now" }));
  await until(() => asked() === 1, { what: "the reboot", timeoutMs: 5_000, everyMs: 5 });
  for (let n = 0; n < 3; n++) obey(target({ orderId: "r1", bootId: "now" }));
  await new Promise(setImmediate);
  assert.is(asked(), 1);
  stop();
});

test("an order for another boot was obeyed already", () => {
  const { obey, asked, stop } = rebooting();
  obey(target({ orderId: "r1", bootId: "before" }));
  assert.is(asked(), 0);
  stop();
});

test("one that fails is tried again", async () => {
  const { obey, asked, stop } = rebooting(1);
  obey(target({ orderId: "r1", bootId: "now" }));
  await until(() => asked() === 2, { what: "a second try", timeoutMs: 20_000, everyMs: 20 });
  stop();
});

test("one that fails and is taken back is not tried again, and the next order is obeyed", async () => {
  const done = new AbortController();
  const waits: (() => void)[] = [];
  const tried: string[] = [];
  let order = "r1";
  const obey = rebooter({
    bootId: "now",
    reboot: async () => {
      tried.push(order);
      if (order === "r1") throw new Error("no");
    },
    wait: () => new Promise<void>((resolve) => waits.push(resolve)),
    log: silentLog(),
    signal: done.signal,
  });
  obey(target({ orderId: order, bootId: "now" }));
  await until(() => waits.length === 1, { what: "the wait after the first try", timeoutMs: 5_000, everyMs: 5 });
  obey(target());
  waits[0]!(); // its time has come, and nothing is ordered any more
  order = "r2";
  const obeyed = () => {
    obey(target({ orderId: order, bootId: "now" }));
    return tried.length > 1;
  };
  await new Promise(setImmediate); // what the wait goes on with has run
  assert.equal(tried, ["r1"]);
  await until(obeyed, { what: "the next order", timeoutMs: 5_000, everyMs: 5 });
  assert.equal(tried, ["r1", "r2"]);
  done.abort();
});

test.run();
