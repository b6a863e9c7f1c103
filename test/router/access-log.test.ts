import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { accessLine, type JobOf } from "../../router/access-log.ts";

const web = { app: "hello", process: "web", jobs: 1 };
const jobOf: JobOf = (slot) =>
  ({ "be_0001/s2": { ...web, jobId: "job-1" }, "be_0001/<NOSRV>": web, "be_0002/<NOSRV>": { ...web, jobs: 0 } })[slot];
const raw = (slot: string, status: number, state: string) =>
  `at=info method=GET path="/" host=h request_id=r fwd="1.2.3.4" job=${slot} connect=0ms service=15ms status=${status} bytes=10 protocol=http state=${state}`;

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
  ["be_0001/s2", 504, "sH", 'at=error code=H12 desc="Request timeout" method'],
  ["be_0001/s2", 502, "SH", 'at=error code=H13 desc="Connection closed without response" method'],
  ["be_0001/s2", 499, "CD", 'at=error code=H27 desc="Client request interrupted" method'],
  ["be_0001/s2", 502, "PH", 'at=error code=H17 desc="Poorly formatted HTTP response" method'],
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

test.run();
