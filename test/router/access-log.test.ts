import { mkdir, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { accessLine, copyAccessLog, type JobOf } from "../../router/access-log.ts";

const web = { app: "hello", appId: "app-1", process: "web", jobs: 1 };
const jobOf: JobOf = (slot) =>
  ({ "be_0001/s2": { ...web, jobId: "job-1" }, "be_0001/<NOSRV>": web, "be_0002/<NOSRV>": { ...web, jobs: 0 } })[slot];
const raw = (slot: string, status: number, state: string) =>
  `at=info method=GET path="/" host=h request_id=r fwd="1.2.3.4" job=${slot} connect=0 service=15 status=${status} bytes=10 protocol=http state=${state}`;

test("an answered request is the agreed line, its slot named as process and job", () => {
  const access = accessLine(raw("be_0001/s2", 200, "--"), jobOf);
  assert.is(
    access?.line,
    'at=info method=GET path="/" host=h request_id=r fwd="1.2.3.4" job=web.job-1 connect=0ms service=15ms status=200 bytes=10 protocol=http',
  );
  assert.is(access?.owner?.app, "hello");
});

for (const [slot, status, state, begin] of [
  ["be_0001/s2", 404, "--", "at=info method"],
  ["be_0001/s2", 500, "--", "at=info method"],
  ["be_0001/<NOSRV>", 404, "LR", "at=info method"],
  ["be_0001/<NOSRV>", 503, "LR", 'at=error code=H80 desc="Maintenance mode" method'],
  ["be_0001/<NOSRV>", 503, "SC", 'at=error code=H10 desc="App crashed" method'],
  ["be_0002/<NOSRV>", 503, "SC", 'at=error code=H14 desc="No jobs running" method'],
  ["be_0001/s2", 503, "SC", 'at=error code=H21 desc="Backend connection refused" method'],
  ["be_0001/s2", 504, "sH", 'at=error code=H12 desc="Request timeout: no response headers within 60 s" method'],
  ["be_0001/s2", 502, "SH", 'at=error code=H13 desc="Connection closed without response" method'],
  ["be_0001/s2", 499, "CD", 'at=error code=H27 desc="Client request interrupted" method'],
  [
    "be_0001/s2",
    502,
    "PH",
    'at=error code=H17 desc="Poorly formatted HTTP response, or its headers are over 32 KiB" method',
  ],
] as const)
  test(`${slot} with status ${status} and state ${state} is ${begin}`, () =>
    assert.ok(accessLine(raw(slot, status, state), jobOf)?.line.startsWith(begin)));

test("a slot nobody has any more is no job, and a notice of HAProxy is no request", () => {
  const gone = accessLine(raw("be_0009/s1", 200, "--"), jobOf);
  assert.match(gone!.line, " job=- connect");
  assert.is(gone!.owner, undefined);
  assert.is(accessLine("Server be_0001/s1 is DOWN, reason: Layer4 connection problem.", jobOf), undefined);
});

test("whatever HAProxy writes, reading it throws nothing and makes one line", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (path, state) => {
      const text = raw("be_0001/s2", 200, state.replaceAll("\n", "")).replace(
        '"/"',
        () => `"${path.replaceAll("\n", "")}"`,
      );
      assert.not.match(accessLine(text, jobOf)?.line ?? "", "\n");
    }),
  );
});

for (const [what, name, mend] of [
  ["is full", "/dev/full", undefined],
  ["does not take the file for a while", "later/access.log", (directory: string) => mkdir(join(directory, "later"))],
] as const)
  test(`a disk that ${what} costs the access log's lines, never the router: requests are told on`, async () => {
    const directory = await mkdtemp(join(tmpdir(), "access-log-test-"));
    const pipe = join(directory, "pipe");
    await exec(["mkfifo", pipe]);
    const file = name.startsWith("/") ? name : join(directory, name);
    const seen: string[] = [];
    const stop = new AbortController();
    const copying = copyAccessLog({
      ...{ pipe, file, jobOf, log: silentLog(), signal: stop.signal },
      onLine: ({ line }) => seen.push(line),
    });
    const writer = await open(pipe, "r+");
    const request = async () => {
      const before = seen.length;
      await writer.write(`${raw("be_0001/s2", 200, "--")}\n`);
      await until(() => seen.length > before, { what: "the request", timeoutMs: 30_000, everyMs: 5 });
    };
    try {
      for (let n = 0; n < 3; n++) await request();
      if (mend !== undefined) {
        await mend(directory);
        const isWritten = async () => {
          await request();
          return (await readFile(file, "utf8").catch(() => "")).includes("app=hello at=info");
        };
        await until(isWritten, { what: "lines in the file", timeoutMs: 30_000, everyMs: 50 });
      }
    } finally {
      stop.abort();
      await copying;
      await writer.close();
      await rm(directory, { recursive: true, force: true });
    }
  });

test.run();
