// time limit: 120 s
// What one client may ask of a route, through the real HAProxy: hours are counted, so that no test waits for a clock.
import { request } from "node:http";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RouterLogLine } from "#api/logs.ts";
import type { RouteRate } from "#api/routes.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { copyAccessLog } from "../../router/access-log.ts";
import { origin, type PoolSketch, type Rig, type RigOptions, startRig, target } from "./rig.ts";

const rigs: Rig[] = [];
let app: Awaited<ReturnType<typeof origin>>;
test.before(async () => {
  app = await origin("a");
});
test.after(() => app.close());
test.after.each(async () => {
  for (const rig of rigs.splice(0)) await rig.end();
});
async function served(pools: PoolSketch[], options: RigOptions = {}): Promise<Rig> {
  const rig = await startRig(options);
  rigs.push(rig);
  await rig.serve(target(1, pools));
  return rig;
}
const limited = (rate: RouteRate, more: Partial<PoolSketch> = {}): PoolSketch => ({
  app: "limited",
  routes: ["a.test"],
  jobs: [app],
  options: { rate },
  ...more,
});
const hourly = (requests: number) => ({ requests, per: "hour" }) as const;

interface Told {
  status: number;
  body: string;
  retryAfter: string | undefined;
}
function ask(rig: Rig, { host = "a.test", path = "/", from = "127.0.0.1", headers = {} } = {}): Promise<Told> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: rig.port,
      localAddress: from,
      path,
      agent: false,
      headers: { ...headers, host },
    };
    const req = request(options, (res) => {
      let body = "";
      res.on("data", (chunk) => (body += chunk));
      res.on("end", () => resolve({ status: res.statusCode ?? 0, body, retryAfter: res.headers["retry-after"] }));
    });
    req.setTimeout(10_000, () => req.destroy(new Error("no answer within 10 s")));
    req.on("error", reject);
    req.end();
  });
}
const statuses = async (count: number, one: () => Promise<Told>): Promise<number[]> => {
  const found: number[] = [];
  for (let n = 0; n < count; n++) found.push((await one()).status);
  return found;
};

test("a client has so many requests and no more, is told when to come again, and no other client is touched", async () => {
  const rig = await served([limited(hourly(5))]);
  assert.equal(await statuses(7, () => ask(rig)), [200, 200, 200, 200, 200, 429, 429]);
  const { body, retryAfter } = await ask(rig);
  assert.is(body, "too many requests from your address: this route takes 5 an hour\n");
  assert.is(retryAfter, "3600");
  assert.equal(await statuses(5, () => ask(rig, { from: "127.0.0.7" })), [200, 200, 200, 200, 200]);
});

test("behind a front no client is another one by naming X-Forwarded-For in Connection, or as IPv6", async () => {
  const rig = await served([limited(hourly(3))], { bind: "::", trustedFronts: ["127.0.0.9"] });
  const as = (address: string, connection: string) => () =>
    ask(rig, { from: "127.0.0.9", headers: { "x-forwarded-for": address, connection } });
  assert.equal(await statuses(4, as("203.0.113.7", "close")), [200, 200, 200, 429]);
  assert.equal(await statuses(2, as("203.0.113.7", "close, x-forwarded-for")), [429, 429]);
  assert.equal(await statuses(2, as("203.0.113.7", "close, X-Real-IP, Forwarded, X-Forwarded-For")), [429, 429]);
  assert.equal(await statuses(1, as("::ffff:203.0.113.7", "close")), [429]);
  assert.equal(await statuses(4, as("::ffff:203.0.113.8", "close")), [200, 200, 200, 429]);
  assert.equal(await statuses(4, () => ask(rig, { from: "127.0.0.7" })), [200, 200, 200, 429]);
});

test("each route counts by itself, and one without a rate counts nothing", async () => {
  const rig = await served([
    limited(hourly(2), { routes: ["a.test", "a.test/api"] }),
    { app: "free", routes: ["free.test"], jobs: [app] },
  ]);
  assert.equal(await statuses(3, () => ask(rig)), [200, 200, 429]);
  assert.equal(await statuses(3, () => ask(rig, { path: "/api" })), [200, 200, 429]);
  assert.equal(await statuses(5, () => ask(rig, { host: "free.test" })), [200, 200, 200, 200, 200]);
});

test("another rate counts at once, and none sets free; nothing is reloaded", async () => {
  const rig = await served([limited(hourly(2))]);
  assert.equal(await statuses(3, () => ask(rig)), [200, 200, 429]);
  await rig.serve(target(2, [limited(hourly(100))]));
  assert.is((await ask(rig)).status, 200);
  await rig.serve(target(3, [limited(hourly(1))]));
  assert.is((await ask(rig)).status, 429);
  await rig.serve(target(4, [limited(hourly(1), { options: {} })]));
  assert.is((await ask(rig)).status, 200);
  assert.is(rig.converger.state().reloads, 0);
});

test("behind a front it is the client that is counted, of IPv6 its network; what a client says of itself is nothing", async () => {
  const rig = await served([limited(hourly(2))], { trustedFronts: ["127.0.0.9"] });
  const behind = (client: string) => () => ask(rig, { from: "127.0.0.9", headers: { "x-forwarded-for": client } });
  assert.equal(await statuses(3, behind("203.0.113.1")), [200, 200, 429]);
  assert.equal(await statuses(3, behind("203.0.113.2")), [200, 200, 429]);
  assert.equal(await statuses(1, behind("2001:db8:1:2::1")), [200]);
  assert.equal(await statuses(2, behind("2001:db8:1:2:ffff::9")), [200, 429]);
  assert.equal(await statuses(1, behind("2001:db8:1:3::1")), [200]);
  let n = 0;
  const lying = () => ask(rig, { from: "127.0.0.8", headers: { "x-forwarded-for": `203.0.113.${++n}` } });
  assert.equal(await statuses(3, lying), [200, 200, 429]);
});

test("a second and a minute are counted as well, and after the second there is room again", async () => {
  const rig = await served([
    limited({ requests: 1, per: "second" }),
    limited({ requests: 3, per: "minute" }, { app: "minutes", routes: ["m.test"] }),
  ]);
  const burst = async (host: string) => {
    const told = await Promise.all(Array.from({ length: 8 }, () => ask(rig, { host })));
    return told.find(({ status }) => status === 429);
  };
  const refused = { last: undefined as Told | undefined };
  const isRefused = async () => {
    refused.last = await burst("a.test");
    return refused.last !== undefined;
  };
  await until(isRefused, { what: "a 429", timeoutMs: 20_000, everyMs: 1 });
  assert.is(refused.last?.retryAfter, "1");
  assert.match(String(refused.last?.body), "takes 1 a second");
  await until(async () => (await ask(rig)).status === 200, { what: "room again", timeoutMs: 20_000, everyMs: 200 });
  const minute = await burst("m.test");
  assert.is(minute?.retryAfter, "60");
});

test("the log of the app has what was refused", async () => {
  const rig = await served([limited(hourly(1))], { accessLog: true });
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
    await statuses(2, () => ask(rig));
    await until(() => lines.length >= 2, { what: "two lines", timeoutMs: 10_000 });
    const refused = lines.find(({ line }) => line.includes("status=429"));
    assert.equal([refused?.app, refused?.process, refused?.jobId], ["limited", "web", undefined]);
  } finally {
    controller.abort();
    await copying;
  }
});

test.run();
