import { test } from "uvu";
import * as assert from "uvu/assert";
import { accessLine } from "../../router/access-log.ts";

const jobOf = (slot: string) => (slot === "be_0001/s2" ? { jobId: "web.1", app: "hello" } : undefined);
const raw = (slot: string, status: number, state: string) =>
  `at=info method=GET path="/" host=h request_id=r fwd="1.2.3.4" job=${slot} connect=0ms service=15ms status=${status} bytes=10 protocol=http state=${state}`;

test("an answered request is the agreed line, its slot named as app and job", () => {
  assert.is(
    accessLine(raw("be_0001/s2", 200, "--"), jobOf),
    'at=info method=GET path="/" host=h request_id=r fwd="1.2.3.4" app=hello job=web.1 connect=0ms service=15ms status=200 bytes=10 protocol=http',
  );
});

for (const [status, state, begin] of [
  [404, "LR", "at=info method"],
  [503, "SC", "at=error code=SC method"],
  [502, "SH", "at=error code=SH method"],
  [400, "CR", "at=error code=CR method"],
  [500, "--", "at=error code=-- method"],
] as const)
  test(`status ${status} with state ${state} is ${begin}`, () =>
    assert.ok(accessLine(raw("be_0001/<NOSRV>", status, state), jobOf)?.startsWith(begin)));

test("a slot nobody has any more is no job, and a notice of HAProxy is no request", () => {
  assert.match(accessLine(raw("be_0009/s1", 200, "--"), jobOf)!, " job=- connect");
  assert.is(accessLine("Server be_0001/s1 is DOWN, reason: Layer4 connection problem.", jobOf), undefined);
});

test.run();
