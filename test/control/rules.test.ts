// The small rules of control, each by its table: names, subnets, releases, paging, log merging, retention, reports.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Release } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import type { HostReport } from "#api/host-agents.ts";
import type { Job } from "#api/jobs.ts";
import type { LogLine } from "#api/logs.ts";
import type { RouterReport } from "#api/router-agents.ts";
import { until } from "#lib/time.ts";
import { makeRelease } from "../../control/apps/release.ts";
import { fittingTail } from "../../control/deploy/record.ts";
import { stateFeed } from "../../control/feed.ts";
import { checkRange, freeSubnet } from "../../control/identity/subnets.ts";
import { mergeLines } from "../../control/logs/logs.ts";
import { appName, checkAppName, hostName } from "../../control/names.ts";
import { page } from "../../control/paging.ts";
import type { HostRecord } from "../../control/records.ts";
import { hostAfter, jobAfter } from "../../control/reports.ts";
import { isDrained, isServed } from "../../control/targets/router-proofs.ts";
import { factsOf } from "./rig.ts";

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "fine";
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
};
const AT = "2026-01-01T00:00:00.000Z";

test("a host name is made of whatever is offered, is always valid and never taken twice", () => {
  const table: [string, string[], string][] = [
    ["node-1", [], "node-1"],
    ["node-1", ["node-1"], "node-1-2"],
    ["node-1", ["node-1", "node-1-2"], "node-1-3"],
    ["Web Server; rm -rf /", [], "web-server-rm--rf"],
    ["../../etc", [], "etc"],
    ["\u0000\n\u001b[31m", [], "m"],
    ["", [], "host"],
    ["123", [], "host"],
    ["---", [], "host"],
    ["a".repeat(200), [], "a".repeat(26)],
  ];
  for (const [wanted, taken, name] of table) {
    assert.is(hostName(wanted, taken), name);
    assert.match(hostName(wanted, taken), /^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$/);
  }
  assert.match(
    appName(() => 0.999),
    /^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$/,
  );
  assert.is(
    codeOf(() => checkAppName("api")),
    "invalid",
  );
});

test("subnets are the lowest free /24, the first left out, and a full or unsound range says so", () => {
  assert.is(freeSubnet("100.64.0.0/16", 24, { taken: [] }), "100.64.1.0/24");
  assert.is(freeSubnet("100.64.0.0/16", 24, { taken: ["100.64.1.0/24", "100.64.3.0/24"] }), "100.64.2.0/24");
  assert.is(
    codeOf(() => freeSubnet("10.0.0.0/23", 24, { taken: ["10.0.1.0/24"] })),
    "no-capacity",
  );
  for (const range of ["100.64.0.0/16", "10.0.0.0/8", "10.0.0.0/23"]) checkRange(range);
  for (const range of ["100.64.7.0/16", "10.0.0.0/24", "10.0.0.0/7", "999.0.0.0/16", "10.0.0.0", "10.0.0.0/x", ""])
    assert.is(
      codeOf(() => checkRange(range)),
      "invalid",
      range,
    );
});

const frame = { appId: "app", version: 2, by: "me", at: AT };
const before: Release = {
  id: "r1",
  appId: "app",
  version: 1,
  artifactId: "a1",
  processes: { web: { port: 80 } },
  env: { A: "1", B: "2" },
  description: "",
  createdAt: AT,
  createdBy: "me",
};

test("a release takes over what is left out, removes what is null, and says what changed", () => {
  const next = makeRelease(before, { env: { A: null, C: "3" } }, frame);
  assert.equal(next.env, { B: "2", C: "3" });
  assert.equal([next.artifactId, next.processes, next.description], ["a1", before.processes, "set C; removed A"]);
  assert.is(makeRelease(before, { artifactId: "a2" }, frame).description, "new image");
  assert.is(makeRelease(before, {}, frame).description, "no change");
  assert.equal(makeRelease(undefined, {}, frame).processes, { web: { port: 8080 } });
  for (const name of ["PORT", "FLYNN_APP", "HOST_ID"])
    assert.is(
      codeOf(() => makeRelease(before, { env: { [name]: "x" } }, frame)),
      "invalid",
    );
  assert.is(
    codeOf(() => makeRelease(before, { env: { BIG: "é".repeat(7_000) } }, frame)),
    "too-large",
  );
});

test("pages go by the last key, and are whole while the list changes", () => {
  const entries = ["a", "b", "c", "d"].map((key) => ({ key, value: key, version: 1 }));
  const first = page(entries, { limit: 2 }, ({ value }) => value);
  assert.equal(first.items, ["a", "b"]);
  const fewer = entries.filter(({ key }) => key !== "b");
  assert.equal(
    page(fewer, { limit: 2, cursor: first.nextCursor }, ({ value }) => value),
    { items: ["c", "d"] },
  );
  assert.is(
    codeOf(() => page(entries, { cursor: "?" }, ({ value }) => value)),
    "invalid",
  );
});

const line = (at: string, text: string): LogLine => ({
  at,
  app: "hello",
  process: "web",
  jobId: "j",
  stream: "stdout",
  source: "app",
  line: text,
});

test("lines of several hosts come in time order, equal times in the order of their source", () => {
  const merged = mergeLines([[line("2", "b"), line("3", "c")], [line("1", "a"), line("2", "b2")], []]);
  assert.equal(
    merged.map((each) => each.line),
    ["a", "b", "b2", "c"],
  );
});

test("the last lines of a failed deployment fit into a record whatever they are made of", () => {
  for (const text of ["x", "\u0001", "\u001b[0m", "é", "\u{1f600}", "\\", '"']) {
    const tail = fittingTail(Array.from({ length: 50 }, (_, n) => line(String(n), text.repeat(20_000))));
    assert.ok(tail.length > 0);
    assert.ok(Buffer.byteLength(JSON.stringify(tail)) <= 9 * 1024, text);
    assert.is(tail.at(-1)!.at, "49");
  }
});

const job = {
  id: "j",
  appId: "app",
  process: "web",
  state: "starting",
  desired: "run",
  reason: "",
  restarts: 0,
  hostId: "h1",
} as Job;

test("a report changes a job only while it is not over, and ends it with a time", () => {
  assert.is(jobAfter(job, { id: "j", state: "starting", reason: "", restarts: 0 }, AT), undefined);
  assert.is(
    jobAfter(job, { id: "j", state: "up", reason: "", restarts: 0, address: "100.64.1.2" }, AT)!.address,
    "100.64.1.2",
  );
  const down = jobAfter(job, { id: "j", state: "down", reason: "", restarts: 0, exitCode: 0 }, AT)!;
  assert.equal([down.state, down.endedAt, down.exitCode], ["down", AT, 0]);
  const up = { id: "j", state: "up", reason: "", restarts: 9 } as const;
  for (const state of ["down", "lost"] as const)
    assert.is(jobAfter({ ...job, state, desired: state === "lost" ? "stop" : "run" }, up, AT), undefined);
  const returned = jobAfter({ ...job, state: "lost", endedAt: AT }, up, AT)!;
  assert.equal([returned.state, "endedAt" in returned], ["up", false], "its host was silent, and nothing replaced it");
  const nextStartAt = "2026-01-01T00:05:00.000Z";
  const crashed = jobAfter(job, { id: "j", state: "crashed", reason: "exited 1", restarts: 1, nextStartAt }, AT)!;
  assert.is(crashed.nextStartAt, nextStartAt);
  const again = jobAfter(crashed, { id: "j", state: "starting", reason: "", restarts: 2 }, AT)!;
  assert.not.ok("nextStartAt" in again, "it was tried");
  const measured = {
    id: "j",
    state: "crashed",
    reason: "exited 1",
    restarts: 1,
    nextStartAt,
    memoryBytes: 7,
  } as const;
  assert.is(jobAfter(crashed, measured, AT), undefined, "memory in use is nothing to write down");
  const long = jobAfter(job, { id: "j", state: "crashed", reason: `\u001b[2J${"x".repeat(4000)}`, restarts: 1 }, AT)!;
  assert.is(long.reason.length, 400);
  assert.not.match(long.reason, /\u001b/);
});

test("why a job that runs once was told to end stays said while it ends, and after it unless its host knows more", () => {
  const told = { ...job, desired: "stop", reason: "stopped by ann: its client went away", task: {} } as Job;
  const report = { id: "j", reason: "control wants it stopped", restarts: 0 };
  const stopping = jobAfter(told, { ...report, state: "stopping" }, AT)!;
  assert.equal([stopping.state, stopping.reason], ["stopping", told.reason]);
  assert.is(jobAfter(stopping, { ...report, state: "down", reason: "" }, AT)!.reason, told.reason);
  assert.is(jobAfter(stopping, { ...report, state: "down", reason: "out of memory" }, AT)!.reason, "out of memory");
  assert.is(jobAfter({ ...told, desired: "run" }, { ...report, state: "stopping" }, AT)!.reason, report.reason);
});

test("a host's record changes with its engine and its room, and not with every byte of it", () => {
  const facts = factsOf("h", 1);
  const host = {
    id: "h1",
    name: "h",
    state: "ready",
    reason: "",
    cordoned: false,
    subnet: "100.64.1.0/24",
    capacity: facts.capacity,
    tags: {},
    keySha256: "",
    agentVersion: "0.1.0",
    engineVersion: "20.10",
    bootId: facts.bootId,
    address: facts.address,
    architecture: facts.architecture,
    joinedAt: AT,
  } as HostRecord;
  const report = (over: Partial<HostReport> = {}): HostReport => ({
    term: 1,
    seq: 1,
    facts,
    engine: { healthy: true, version: "20.10", reason: "" },
    jobs: [],
    ...over,
  });
  const room = (memoryBytes: number) => report({ facts: { ...facts, capacity: { ...facts.capacity, memoryBytes } } });
  assert.is(hostAfter(host, report()), undefined);
  assert.is(hostAfter(host, room(facts.capacity.memoryBytes - 1024)), undefined);
  assert.is(hostAfter(host, room(1024))!.capacity.memoryBytes, 1024);
  const sick = hostAfter(host, report({ engine: { healthy: false, reason: "docker does not answer" } }))!;
  assert.equal([sick.state, sick.reason], ["unhealthy", "docker does not answer"]);
  assert.is(hostAfter(sick, report())!.state, "ready");
  const plenty = { sizeBytes: 100, freeBytes: 90, reserveBytes: 5 };
  const short = report({ space: { disk: { ...plenty, freeBytes: 4 }, memory: plenty, pressure: ["disk"] } });
  const pressed = hostAfter(host, short)!;
  assert.is(pressed.shortOf, "disk");
  assert.is(hostAfter(pressed, short), undefined);
  const relieved = hostAfter(pressed, report({ space: { disk: plenty, memory: plenty, pressure: [] } }))!;
  assert.not.ok("shortOf" in relieved);
});

const router = (generation: number, over: Partial<RouterReport> = {}): RouterReport => ({
  term: 2,
  generation,
  healthy: true,
  reason: "",
  reloads: 0,
  refused: [],
  draining: [],
  ...over,
});

test("a generation is served by term and number, by every live router; silence of all of them proves nothing", () => {
  const table: [RouterReport[], number, boolean][] = [
    [[], 0, true],
    [[], 1, false],
    [[router(10)], 1, true],
    [[router(11)], 1, true],
    [[router(9)], 1, false],
    [[router(10)], 2, true],
    [[router(10), router(9)], 2, false],
    [[router(99, { term: 1 })], 1, false],
  ];
  for (const [live, members, expected] of table)
    assert.is(isServed(10, { term: 2, live, members }), expected, JSON.stringify(live));
});

test("a job is drained when every live router knows and none has a request open on it, or the time for those is up", () => {
  const drain = (live: RouterReport[], over: Partial<Parameters<typeof isDrained>[0]> = {}) =>
    isDrained({
      ...{ job, generation: 8, drainingMs: 0, drainTimeoutMs: 1_000 },
      routers: { term: 2, live, members: Math.max(1, live.length) },
      ...over,
    });
  const open = (sessions: number) => router(8, { draining: [{ jobId: "j", sessions }] });
  assert.ok(drain([], { routers: { term: 2, live: [], members: 0 } }), "a cluster without routers serves nothing");
  assert.ok(drain([router(8)]));
  assert.not(drain([router(7)]));
  assert.not(drain([open(1)]));
  assert.ok(
    drain([
      router(8, {
        draining: [
          { jobId: "j", sessions: 0 },
          { jobId: "other", sessions: 5 },
        ],
      }),
    ]),
  );
  assert.not(drain([router(50, { term: 1 })]));
  const late = { drainingMs: 1_000 };
  assert.ok(drain([open(1)], late), "open sessions are waited for so long");
  assert.not(drain([router(7)], late), "a live router still sends to it, however late");
  assert.not(drain([], late), "all routers are silent, and HAProxy serves on");
});

test("a feed sends bursts as one, the same state once, and lets go of its subscription", async () => {
  let state = 0;
  let wake: (() => void) | undefined;
  const stop = new AbortController();
  const seen: unknown[] = [];
  const feed = stateFeed({
    subscribe: (poke) => {
      wake = poke;
      return () => {
        wake = undefined;
      };
    },
    build: () => state,
    id: String,
    signal: stop.signal,
    coalesceMs: 5,
  });
  const reading = (async () => {
    for await (const { event, data } of feed) seen.push(event === "item" ? data : event);
  })();
  await until(() => seen.length === 2, { what: "first state", timeoutMs: 30_000, everyMs: 1 });
  for (; state < 100; state++) wake!();
  await until(() => seen.at(-1) === 100, { what: "last state", timeoutMs: 30_000, everyMs: 1 });
  assert.ok(seen.length <= 5, JSON.stringify(seen));
  wake!();
  stop.abort();
  await reading;
  assert.is(wake, undefined);
  assert.is(seen.filter((each) => each === 100).length, 1);
});

test.run();
