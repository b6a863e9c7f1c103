// scale, ps, kill, log, timeline: against a control that says what the test tells it to.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { type Answer, type Asked, closeFakes, type FakeControl, fakeControl } from "./fake-control.ts";

const FORMATION = { appId: "app-1", releaseId: "r1", processes: { web: { count: 1, tags: {} } } };
const job = (id: string, changed: Partial<Job> = {}): Job => ({
  id,
  appId: "app-1",
  app: "hello",
  releaseId: "r1",
  version: 2,
  process: "web",
  desired: "run",
  state: "up",
  reason: "",
  need: { cpuMillis: 100, memoryBytes: 1, diskBytes: 0 },
  tags: {},
  restarts: 0,
  createdAt: new Date(Date.now() - 65_000).toISOString(),
  ...changed,
});

test("scale without words prints what it takes", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/formation", {
    json: { ...FORMATION, processes: { web: { count: 3, tags: {} }, worker: { count: 1, tags: { zone: "a" } } } },
  });
  const { code, out } = await control.flynn("scale -a hello");
  assert.equal([code, out], [0, "web=3 worker=1,zone=a\n"]);
  assert.is(JSON.parse((await control.flynn("scale -a hello --json")).out).processes.web.count, 3);
});

const withCount = (count: number, releaseId = FORMATION.releaseId) => ({
  json: { ...FORMATION, releaseId, processes: { web: { count, tags: {} } } },
});
const DEPLOYING = {
  ...{
    id: "d-4",
    appId: "app-1",
    toReleaseId: "r9",
    toVersion: 4,
    strategy: "rolling",
    state: "running",
    step: "starting",
  },
  ...{
    reason: "",
    logTail: [],
    createdAt: "2026-01-01T00:00:00Z",
    processes: { web: { wanted: 3, healthy: 0, oldLeft: 1 } },
  },
};
/** From one web job to so many; after that the formation is as given. */
function scaled(
  control: FakeControl,
  count: number,
  { later = withCount(count), deployment }: { later?: { json: object }; deployment?: object } = {},
): void {
  control.on("GET /v1/apps/hello/formation", { json: FORMATION }, later);
  control.on("PATCH /v1/apps/hello/formation", { ...withCount(count), status: 202 });
  control.on("GET /v1/apps/hello/deployments", { json: { items: deployment ? [deployment] : [] } });
}

test("scale beside a push ends at once: the deployment takes the counts along, and how to follow it is said", async () => {
  const control = await fakeControl();
  scaled(control, 3, { deployment: DEPLOYING });
  control.on("GET /v1/apps/hello/jobs", { json: { items: [job("job-1")] } });
  const { code, out, err } = await control.flynn("scale web=3 -a hello");
  assert.is(code, 0, err);
  assert.match(
    out,
    /v4 is being deployed and takes these counts along; follow it: flynn -a hello deployment show d-4 -f/,
  );
});

test("scale beside another scale, or a deployment with counts of its own, exits 5 and says what is wanted now", async () => {
  const other = await fakeControl();
  scaled(other, 3, { later: withCount(5) });
  other.on("GET /v1/apps/hello/jobs", { json: { items: [job("job-1")] } });
  const one = await other.flynn("scale web=3 -a hello");
  assert.is(one.code, 5);
  assert.match(one.err, /hello was scaled to web=5 meanwhile/);
  const control = await fakeControl();
  scaled(control, 2, { deployment: DEPLOYING });
  control.on("GET /v1/apps/hello/jobs", { json: { items: [job("job-1")] } });
  const two = await control.flynn("scale web=2 -a hello");
  assert.is(two.code, 5);
  assert.match(two.err, /v4 is being deployed with web=3/);
});

test("scale goes on with the release that a deployment brought meanwhile, and waits for one that goes back", async () => {
  const control = await fakeControl();
  scaled(control, 3, { later: withCount(3, "r9"), deployment: { ...DEPLOYING, goingBack: "failed" } });
  const items = ["a", "b", "c"].map((id) => job(id, { releaseId: "r9" }));
  control.on(
    "GET /v1/apps/hello/jobs",
    { json: { items: [job("job-1")] } },
    { json: { items: [job("job-1")] } },
    { json: { items } },
  );
  const { code, out, err } = await control.flynn("scale web=3 -a hello");
  assert.is(code, 0, err);
  assert.match(out, /scale completed/);
});

test("scale shows each change of each job, and ends when they are up", async () => {
  const control = await fakeControl();
  scaled(control, 3);
  const old = job("job-0", { state: "down", endedAt: "2026-01-01T00:00:00Z" });
  const pages = [
    [job("job-1")],
    [old, job("job-1"), job("job-2", { state: "pending", reason: "no host has room" })],
    [old, job("job-1"), job("job-2", { state: "starting" }), job("job-3")],
    [old, job("job-1"), job("job-2"), job("job-3")],
  ];
  control.on("GET /v1/apps/hello/jobs", ...pages.map((items) => ({ json: { items } })));
  const { code, out, err } = await control.flynn("scale web=3 -a hello");
  assert.is(code, 0, err);
  assert.equal(
    out
      .replace(/\d\d:\d\d:\d\d\.\d{3}/g, "TIME")
      .replace(/in [\d.]+m?s/, "in N")
      .split("\n"),
    [
      "scaling web: 1=>3",
      "",
      "TIME ==> web job-2 pending: no host has room",
      "TIME ==> web job-2 starting",
      "TIME ==> web job-3 up",
      "TIME ==> web job-2 up",
      "",
      "scale completed in N",
      "",
    ],
  );
});

test("scale to what runs already says so in two lines", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/formation", { json: FORMATION });
  control.on("PATCH /v1/apps/hello/formation", { json: FORMATION, status: 202 });
  control.on("GET /v1/apps/hello/jobs", { json: { items: [job("job-1")] } });
  const { code, out, err } = await control.flynn("scale web=1 -a hello");
  assert.is(code, 0, err);
  assert.match(out, /^scaling web: 1=>1\nscale completed in [\d.]+m?s\n$/);
});

test("scale that does not arrive in time exits 6 and says what is missing", async () => {
  const control = await fakeControl();
  scaled(control, 2);
  control.on("GET /v1/apps/hello/jobs", {
    json: { items: [job("job-1"), job("job-2", { state: "pending", reason: "no host has room" })] },
  });
  const { code, err } = await control.flynn("scale web=2 -a hello --timeout 300ms");
  assert.is(code, 6);
  assert.match(err, "not there after 300ms: web: 1 of 2 up (job-2 is pending: no host has room)");
});

test("scale --no-wait does not look at jobs again", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/formation", { json: FORMATION });
  control.on("PATCH /v1/apps/hello/formation", { json: FORMATION, status: 202 });
  control.on("GET /v1/apps/hello/jobs", { json: { items: [] } });
  const { code, out } = await control.flynn("scale web=2 -n -a hello");
  assert.equal([code, out], [0, "scaling web: 1=>2\n"]);
});

test("a list of several pages is shown whole, and a job of the last page is found", async () => {
  const control = await fakeControl();
  const pages: Record<string, object> = {
    "": { items: [job("job-1")], nextCursor: "b" },
    b: { items: [job("job-2")], nextCursor: "c" },
    c: { items: [job("job-3", { process: "worker" })] },
  };
  const given = (asked: Asked): Answer => ({ json: pages[asked.query["cursor"] ?? ""] });
  control.on("GET /v1/apps/hello/jobs", given);
  control.on("GET /v1/hosts", { json: { items: [] } });
  control.on("POST /v1/jobs/job-3/stop", { json: job("job-3"), status: 202 });
  const { out } = await control.flynn("ps -a hello --json");
  assert.equal(
    (JSON.parse(out) as Job[]).map(({ id }) => id),
    ["job-1", "job-2", "job-3"],
  );
  assert.is((await control.flynn("kill worker.1 -a hello")).code, 0);
  assert.is(control.asked.at(-1)!.what, "POST /v1/jobs/job-3/stop");
  const drain = (id: string) => ({
    id,
    url: "https://x",
    state: "idle",
    lagSeconds: 0,
    buffered: 0,
    sent: 0,
    dropped: 0,
  });
  control.on("GET /v1/apps/hello/log-drains", ({ query }) => ({
    json: query["cursor"] ? { items: [drain("drain-2")] } : { items: [drain("drain-1")], nextCursor: "b" },
  }));
  assert.match((await control.flynn("log-drain list -a hello")).out, /drain-1.*drain-2/s);
});

test("ps names hosts, counts restarts and says why a job waits", async () => {
  const control = await fakeControl();
  const nearly = { usedBytes: 3.5 * 2 ** 30, limitBytes: 2 ** 32, enforcedBy: "kernel" } as const;
  const items = [
    job("job-1", {
      hostId: "host-1",
      restarts: 2,
      disk: { usedBytes: 2 ** 30, limitBytes: 2 ** 32, enforcedBy: "watch" },
    }),
    job("job-2", { state: "pending", reason: "no host carries the tag zone=a" }),
    job("job-3", { desired: "drain", hostId: "host-9", memoryBytes: 87.5 * 2 ** 20, disk: nearly }),
    job("job-4", {
      state: "crashed",
      reason: "exited 1: boom",
      nextStartAt: new Date(Date.now() + 11_430_000).toISOString(),
    }),
    job("job-5", { state: "crashed", reason: "exited 1", nextStartAt: "2026-01-01T00:00:00Z" }),
  ];
  control.on("GET /v1/apps/hello/jobs", { json: { items } });
  control.on("GET /v1/hosts", { json: { items: [{ id: "host-1", name: "node1" }] } });
  const { code, out } = await control.flynn("ps -a hello");
  assert.is(code, 0);
  assert.equal(out.trimEnd().split("\n"), [
    "NAME   ID     TYPE  STATE      HOST    RELEASE  RESTARTS  MEMORY    DISK                                         AGE    REASON",
    "web.1  job-1  web   up         node1   v2       2                   1 GiB of 4 GiB (ends beyond)                 1m05s",
    "web.2  job-2  web   pending            v2       0                                                                1m05s  no host carries the tag zone=a",
    "web.3  job-3  web   up, drain  host-9  v2       0         87.5 MiB  3.5 GiB of 4 GiB (near, writes fail beyond)  1m05s",
    "web.4  job-4  web   crashed            v2       0                                                                1m05s  exited 1: boom; next try in 3h10m",
    "web.5  job-5  web   crashed            v2       0                                                                1m05s  exited 1; next try now",
  ]);
  assert.is(JSON.parse((await control.flynn("ps -a hello --json")).out).length, 5);
  assert.is(JSON.parse((await control.flynn("ps -a hello --json -t worker")).out).length, 0);
});

test("ps names jobs as exec, restart and kill take them, whatever else it shows or leaves out", async () => {
  const control = await fakeControl();
  const at = (minute: number) => ({ createdAt: `2026-01-01T00:0${minute}:00Z` });
  const living = [job("job-c", at(3)), job("job-b", at(2)), job("job-w", { process: "worker", ...at(1) })];
  const ended = job("job-a", { state: "down", endedAt: "2026-01-01T00:01:30Z", ...at(1) });
  const task = job("job-t", {
    process: "web",
    task: { attach: false } as unknown as NonNullable<Job["task"]>,
    ...at(0),
  });
  control.on("GET /v1/apps/hello/jobs", ({ query }) => ({
    json: { items: query["all"] ? [ended, ...living, task] : [...living, task] },
  }));
  control.on("GET /v1/hosts", { json: { items: [] } });
  control.on("POST /v1/jobs/job-c/stop", { json: job("job-c"), status: 202 });
  control.on("GET /v1/jobs/job-c", { json: job("job-c") });
  const names = async (flags: string) =>
    Object.fromEntries(
      (await control.flynn(`ps -a hello ${flags}`)).out
        .split("\n")
        .map((line) => /^(\S*) +(job-\w)/.exec(line) ?? [])
        .filter(({ length }) => length > 0)
        .map(([, name, id]) => [id, name]),
    );
  const all = { "job-b": "web.1", "job-c": "web.2", "job-w": "worker.1", "job-t": "" };
  assert.equal(await names(""), all);
  assert.equal(await names("--all"), { ...all, "job-a": "" });
  assert.equal(await names("--type worker"), { "job-w": "worker.1" });
  assert.is((await control.flynn("kill -a hello web.2")).out, "Job job-c killed.\n");
  assert.match((await control.flynn("help ps")).out, /`ends beyond`: a job with more is ended/);
});

test("ps works with a token that may not read hosts", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/jobs", { json: { items: [job("job-1", { hostId: "host-1" })] } });
  control.on("GET /v1/hosts", { fault: "forbidden", message: "no permission", status: 403 });
  const { code, out } = await control.flynn("ps -a hello");
  assert.is(code, 0);
  assert.match(out, "host-1");
});

test("kill stops each job named", async () => {
  const control = await fakeControl();
  control.on("GET /v1/jobs/job-1", { json: job("job-1") });
  control.on("POST /v1/jobs/job-1/stop", { json: job("job-1"), status: 202 });
  control.on("GET /v1/jobs/job-2", { fault: "not-found", message: "no job job-2", status: 404 });
  const { code, err } = await control.flynn("kill job-1 job-2");
  assert.is(code, 3);
  assert.match(err, "error: no job job-2; see `flynn ps`");
});

const line = (n: number, changed = {}) => ({
  at: `2026-01-01T00:00:0${n}.000000Z`,
  app: "hello",
  process: "web",
  jobId: "job-1",
  stream: "stdout",
  source: "app",
  line: `line ${n}`,
  ...changed,
});

test("log -j takes the names that ps and exec take; one that is nobody's is an error, not silence", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/log", { json: { items: [line(1)] } });
  control.on("GET /v1/apps/hello/jobs", {
    json: {
      items: [job("job-0", { endedAt: "2026-01-01T00:00:00Z", createdAt: "2025-01-01T00:00:00Z" }), job("job-1")],
    },
  });
  assert.is((await control.flynn("log -a hello -j web.1")).code, 0);
  assert.equal(control.asked.at(-1)!.query, { jobId: "job-1" });
  assert.is((await control.flynn("log -a hello -j job-0")).code, 0);
  assert.equal(control.asked.at(-1)!.query, { jobId: "job-0" });
  const { code, err } = await control.flynn("log -a hello -j web.2");
  assert.equal([code, err], [3, "error: no job web.2; see `flynn ps`\n"]);
});

test("log prints lines in the known form; filters go to control", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/log", { json: { items: [line(1), line(2, { source: "system" })] } });
  const { code, out } = await control.flynn(
    "log -a hello -n 5 -t web -j job-1000000000000000 -s app --since 2026-01-01T00:00:00Z",
  );
  assert.equal(
    [code, out],
    [0, "2026-01-01T00:00:01.000000Z app[web.job-1]: line 1\n2026-01-01T00:00:02.000000Z flynn[web.job-1]: line 2\n"],
  );
  assert.equal(control.asked[0]!.query, {
    lines: "5",
    process: "web",
    jobId: "job-1000000000000000",
    source: "app",
    since: "2026-01-01T00:00:00.000Z",
  });
});

test("escape sequences of an app reach pipes unchanged and terminals never", async () => {
  const control = await fakeControl();
  const nasty = "\x1b]0;owned\x07\x1b[2Jhello\x9b1m\r";
  control.on("GET /v1/apps/hello/log", { json: { items: [line(1, { line: nasty })] } });
  assert.ok((await control.flynn("log -a hello")).out.endsWith(`: ${nasty}\n`));
  const shown = await control.flynn("log -a hello", { terminal: { out: true, columns: 80 }, env: { NO_COLOR: "1" } });
  assert.is(shown.out, "2026-01-01T00:00:01.000000Z app[web.job-1]: hello1m\n");
});

test("colours are for terminals, and NO_COLOR and --no-color turn them off", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/log", { json: { items: [line(1)] } });
  const terminal = { out: true, columns: 80 };
  assert.match((await control.flynn("log -a hello", { terminal })).out, /\x1b\[3\dm/);
  for (const [words, env] of [
    ["log -a hello", { NO_COLOR: "1" }],
    ["log -a hello --no-color", {}],
    ["log -a hello", { TERM: "dumb" }],
  ] as const)
    assert.not.match((await control.flynn(words, { terminal, env })).out, "\x1b");
});

test("log -f goes on after a break, and gives no line twice", async () => {
  const control = await fakeControl();
  const stop = new AbortController();
  control.on(
    "GET /v1/apps/hello/log",
    // The place is told with the last line of a batch: what came after it, comes again.
    { items: [line(1), line(2), line(3)], ids: [undefined, "place-1"], drop: true },
    { drop: true },
    { items: [line(3), line(3), line(3, { line: "same time" })], ids: [undefined, undefined, "place-2"], drop: true },
    { items: [line(4)], hold: true },
  );
  let out = "";
  const ended = control.flynn("log -f --json -a hello", {
    signal: stop.signal,
    onOut: (text) => {
      out += text;
      if (out.includes("line 4")) stop.abort();
    },
  });
  await ended.catch((error: unknown) => assert.ok(stop.signal.aborted, String(error)));
  const lines = out
    .trim()
    .split("\n")
    .map((text) => (JSON.parse(text) as { line: string }).line);
  assert.equal(lines, ["line 1", "line 2", "line 3", "line 3", "same time", "line 4"]);
  const asked = control.asked.filter(({ what }) => what === "GET /v1/apps/hello/log");
  assert.equal(
    asked.map(({ headers }) => headers["last-event-id"]),
    [undefined, "place-1", "place-1", "place-2"],
  );
});

test("log names on stderr the hosts that gave no lines, prints lines alone with --raw, and refuses what makes no sense", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/log", { json: { items: [line(1)], silent: ["h2", "h3"] } });
  const { code, out, err } = await control.flynn("log -a hello --raw -s router --until 2026-02-01T00:00:00Z");
  assert.equal([code, out], [0, "line 1\n"]);
  assert.match(err, "no answer from h2, h3");
  assert.equal(control.asked[0]!.query, { source: "router", until: "2026-02-01T00:00:00.000Z" });
  for (const words of ["log -a hello -s nonsense", "log -a hello -f --until 5m", "log -a hello -n x"])
    assert.is((await control.flynn(words)).code, 2, words);
});

test("log -f of an app that is not there ends with exit code 3", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/nope/log", { fault: "not-found", message: "no app nope", status: 404 });
  const { code, err } = await control.flynn("log -f -a nope");
  assert.is(code, 3);
  assert.match(err, "error: no app nope; see `flynn apps`");
});

const MACHINE = { id: "machine-1", name: "m1", bootId: "boot-2" };
const step = (s: number, stage: string, changed = {}) => ({
  seq: s + 1,
  at: new Date(Date.parse("2026-01-01T00:00:00Z") + s * 1000).toISOString(),
  machineId: "machine-1",
  stage,
  level: "info",
  message: `did ${stage}`,
  ...changed,
});

test("a timeline counts seconds from its first step and names what was no good", async () => {
  const control = await fakeControl();
  control.on("GET /v1/machines/m1", { json: MACHINE });
  control.on("GET /v1/machines/machine-1/timeline", {
    json: { items: [step(0, "discover"), step(12.5, "token-refused", { level: "error", message: "bad\ntoken" })] },
  });
  const { code, out } = await control.flynn("machine timeline m1 --boot last");
  assert.is(code, 0);
  assert.equal(out.trimEnd().split("\n"), [
    "SECONDS  STAGE          MESSAGE",
    "    0.0  discover       did discover",
    "   12.5  token-refused  error: bad token",
  ]);
  assert.is(control.asked[1]!.query["bootId"], "boot-2");
});

test("a followed timeline goes on where it broke", async () => {
  const control = await fakeControl();
  const stop = new AbortController();
  control.on("GET /v1/machines/m1", { json: MACHINE });
  control.on(
    "GET /v1/machines/machine-1/timeline",
    { items: [step(0, "discover"), step(1, "offer")], drop: true },
    { items: [step(2, "tftp"), step(3, "ready")], hold: true },
  );
  let out = "";
  const ended = control.flynn("machine timeline m1 -f", {
    signal: stop.signal,
    onOut: (text) => {
      out += text;
      if (out.includes("ready")) stop.abort();
    },
  });
  await ended.catch((error: unknown) => assert.ok(stop.signal.aborted, String(error)));
  assert.equal(out.trimEnd().split("\n"), [
    "    0.0  discover        did discover",
    "    1.0  offer           did offer",
    "    2.0  tftp            did tftp",
    "    3.0  ready           did ready",
  ]);
});

test.after.each(closeFakes);
test("restart web.1 is one request for that job, and waits until another is up in its place", async () => {
  const control = await fakeControl();
  const born = (id: string, n: number) => job(id, { createdAt: `2026-01-01T00:00:0${n}Z` });
  control.on(
    "GET /v1/apps/hello/jobs",
    { json: { items: [born("job-b", 2), born("job-a", 1)] } },
    { json: { items: [born("job-b", 2), job("job-c", { state: "starting" })] } },
    { json: { items: [born("job-b", 2), job("job-c")] } },
  );
  control.on("POST /v1/apps/hello/restart", { json: { jobs: ["job-a"] }, status: 202 });
  const { code, out, err } = await control.flynn("restart web.1 -a hello");
  assert.equal([code, out], [0, "web.1 of hello restarted: one job\n"], err);
  const sent = control.asked.filter(({ what }) => what.startsWith("POST"));
  assert.equal(
    sent.map(({ body }) => JSON.parse(String(body))),
    [{ job: "job-a" }],
  );
  assert.ok(sent[0]!.headers["idempotency-key"]);
});

test("restart of a process is one request; where all is deployed instead, that is said and followed", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps/hello/jobs", { json: { items: [] } });
  control.on("POST /v1/apps/hello/restart", { json: { jobs: [], version: 7, deploymentId: "d-1" }, status: 202 });
  const { code, out, err } = await control.flynn("restart web -a hello --detach");
  assert.equal([code, out], [0, "Deploying v7 of hello\n"], err);
  assert.match(err, "no other job serves while web restarts");
  control.on("POST /v1/apps/hello/restart", { json: { jobs: [] }, status: 202 });
  assert.is(
    (await control.flynn("restart worker -a hello")).out,
    "worker of hello has no jobs; start some: flynn -a hello scale worker=1\n",
  );
});

test.run();
