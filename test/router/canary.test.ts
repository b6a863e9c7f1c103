// time limit: 120 s
// A share of a route's requests for one release's jobs, through the real HAProxy: by lot, by cookie, and where either side is dead.
import { Agent } from "node:http";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterLogLine } from "#api/logs.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { copyAccessLog } from "../../router/access-log.ts";
import { get, origin, type PoolSketch, type Rig, type RigOptions, startLoad, startRig, target } from "./rig.ts";

const rigs: Rig[] = [];
const origins: Awaited<ReturnType<typeof origin>>[] = [];
const newRig = async (options: RigOptions = {}) => {
  const made = await startRig(options);
  rigs.push(made);
  return made;
};
const newOrigin = async (name: string) => {
  const made = await origin(name);
  origins.push(made);
  return made;
};
const closeOrigin = async (each: (typeof origins)[number]) => {
  origins.splice(origins.indexOf(each), 1);
  await each.close();
};
test.after.each(async () => {
  for (const rig of rigs.splice(0)) await rig.end();
  for (const each of origins.splice(0)) await each.close();
});
const sketch = (more: Partial<PoolSketch>): PoolSketch => ({ app: "hello", routes: ["a.test"], jobs: [], ...more });
const cookieOf = (answer: { headers: Record<string, string | string[] | undefined> }) =>
  String(answer.headers["set-cookie"] ?? "").split(";")[0]!;

/** How often each origin answered `count` requests, a few at a time. */
async function answersTo(port: number, count: number): Promise<Map<string, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const found = new Map<string, number>();
  let left = count;
  const loop = async () => {
    while (left-- > 0) {
      const { status, body } = await get(port, "a.test", { agent });
      assert.is(status, 200, body);
      found.set(body, (found.get(body) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 8 }, loop));
  agent.destroy();
  return found;
}

/** Seven standard deviations: a lot that is fair is outside once in 10^11 times. */
function isShare(seen: number, count: number, percent: number): void {
  const p = percent / 100;
  const most = 7 * Math.sqrt(count * p * (1 - p));
  assert.ok(Math.abs(seen - count * p) <= most, `${seen} of ${count} requests, wanted ${percent} %`);
}

test("a canary gets its share of the requests, the share changes while requests run, and nothing is reloaded", async () => {
  const [old, next] = [await newOrigin("old"), await newOrigin("next")];
  const rig = await newRig();
  const at = (percent: number) => [sketch({ jobs: [old], canary: { percent, jobs: [next] } })];
  await rig.serve(target(1, [sketch({ jobs: [old] })]));
  const load = startLoad(rig.port, "a.test", 4);
  await rig.serve(target(2, at(20)));
  isShare((await answersTo(rig.port, 2_000)).get("next") ?? 0, 2_000, 20);
  await rig.serve(target(3, at(60)));
  isShare((await answersTo(rig.port, 1_000)).get("next") ?? 0, 1_000, 60);
  await rig.serve(target(4, at(100)));
  assert.equal([...(await answersTo(rig.port, 200))], [["next", 200]]);
  await rig.serve(target(5, [sketch({ jobs: [old] })]));
  assert.equal([...(await answersTo(rig.port, 200))], [["old", 200]], "an end of it gives all back");
  await load.stop();
  assert.equal(load.failures, []);
  assert.is(rig.converger.state().reloads, 0);
});

test("the log names the job that answered, of the canary as of the others", async () => {
  const [old, next] = [await newOrigin("old"), await newOrigin("next")];
  const rig = await newRig({ accessLog: true });
  const lines: RouterLogLine[] = [];
  const controller = new AbortController();
  const copying = copyAccessLog({
    pipe: rig.haproxy.accessPipe,
    file: `${rig.directory}/access.log`,
    jobOf: rig.converger.jobOf,
    onLine: (line) => lines.push(line),
    log: silentLog(),
    signal: controller.signal,
  });
  try {
    await rig.serve(
      target(1, [
        sketch({ jobs: [{ ...old, name: "job-old" }], canary: { percent: 50, jobs: [{ ...next, name: "job-next" }] } }),
      ]),
    );
    const answers: string[] = [];
    for (let n = 0; n < 60; n++) answers.push((await get(rig.port, "a.test", { path: `/${n}` })).body);
    await until(() => lines.length >= 60, { what: "a line of each request", timeoutMs: 10_000 });
    for (const [n, answer] of answers.entries()) {
      const { jobId, process, appId } = lines.find(({ line }) => line.includes(`path="/${n}"`))!;
      assert.equal({ jobId, process, appId }, { jobId: `job-${answer}`, process: "web", appId: "hello" });
    }
  } finally {
    controller.abort();
    await copying;
  }
});

test("a sticky client stays where it was drawn, with the canary or without, and with all for the canary goes there", async () => {
  const [old, next] = [await newOrigin("old"), await newOrigin("next")];
  const rig = await newRig();
  const options = { sticky: true };
  const at = (percent: number) => [sketch({ jobs: [old], options, canary: { percent, jobs: [next] } })];
  await rig.serve(target(1, at(50)));
  const homes = new Map<string, string>();
  for (let n = 0; n < 60; n++) {
    const first = await get(rig.port, "a.test");
    homes.set(cookieOf(first), first.body);
  }
  assert.equal([...homes.values()].sort(), ["next", "old"]);
  const stay = async (generation: number, percent: number) => {
    await rig.serve(target(generation, at(percent)));
    for (const [cookie, home] of homes)
      for (let n = 0; n < 20; n++) assert.is((await get(rig.port, "a.test", { headers: { cookie } })).body, home);
  };
  await stay(2, 50);
  await stay(3, 1);
  await stay(4, 99);
  await rig.serve(target(5, at(100)));
  for (const cookie of homes.keys())
    assert.is((await get(rig.port, "a.test", { headers: { cookie } })).body, "next", "100: all of them");
  // The deployment went on: the canary's job is one of the app's, and its clients stay with it.
  await rig.serve(target(6, [sketch({ jobs: [old, next], options })]));
  for (const [cookie, home] of homes)
    for (let n = 0; n < 5; n++) assert.is((await get(rig.port, "a.test", { headers: { cookie } })).body, home);
});

test("where the canary's jobs are all dead the others have every request, and the other way round", async () => {
  const [old, next] = [await newOrigin("old"), await newOrigin("next")];
  const rig = await newRig();
  await rig.serve(target(1, [sketch({ jobs: [old], canary: { percent: 50, jobs: [next] } })]));
  await closeOrigin(next);
  /** HAProxy sees it at its next check. */
  const isOnly = (name: string) => async () => {
    for (let n = 0; n < 40; n++) if ((await get(rig.port, "a.test")).body !== name) return false;
    return true;
  };
  await until(isOnly("old"), { what: "all requests with the old job", timeoutMs: 30_000, everyMs: 50 });
  const again = await origin("again", next.port);
  origins.push(again);
  const isBack = async () => (await get(rig.port, "a.test")).body === "again";
  await until(isBack, { what: "a request for the canary again", timeoutMs: 30_000, everyMs: 5 });
  await closeOrigin(old);
  await until(isOnly("again"), { what: "all requests with the canary", timeoutMs: 30_000, everyMs: 50 });
  await closeOrigin(again);
  const isNobody = async () => (await get(rig.port, "a.test")).body === "no job of hello is up\n";
  await until(isNobody, { what: "no job at all", timeoutMs: 30_000, everyMs: 50 });
  const answer = await get(rig.port, "a.test");
  assert.is(answer.status, 503);
});

test("a canary that needs more pools than there are takes no request from the route meanwhile", async () => {
  const [old, next] = [await newOrigin("old"), await newOrigin("next")];
  const rig = await newRig({ backends: 1 });
  await rig.serve(target(1, [sketch({ jobs: [old] })]));
  const load = startLoad(rig.port, "a.test", 4);
  await rig.serve(target(2, [sketch({ jobs: [old], canary: { percent: 50, jobs: [next] } })]));
  isShare((await answersTo(rig.port, 500)).get("next") ?? 0, 500, 50);
  await load.stop();
  assert.equal(load.failures, []);
});

test.run();
