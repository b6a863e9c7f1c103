// Nothing waits by the wall's clock, which somebody may set. What reads it all the same is listed with its reason; what ends by a date that
// was written down asks `unhurriedNow` or `steadyNow` of lib/time.ts.
import { readdir, readFile } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { unhurriedNow } from "#lib/time.ts";

const READS: Readonly<Record<string, string>> = {
  "hostd/builds/cache-keeper.ts": "days since a cache was used, over restarts",
  "hostd/builds/dockerfile.ts": "compared with the times that Docker gives images",
  "hostd/prune-loop.ts": "days since a log was written, over restarts",
  "hostd/wipe/wipe.ts": "when a disk was wiped, in the proof of it",
  "lib/ids.ts": "ids sort by the time they were made",
  "lib/time.ts": "the two clocks that setting the clock does not hurry",
  "lib/line-store.ts": "numbers of lines go on over a lost disk; days of a log, over restarts",
  "router/default-certificate.ts": "a certificate's own dates",
};

test("programs on hosts wait by the monotonic clock: the wall's is read where dates are meant, and nowhere else", async () => {
  const found = new Set<string>();
  for (const folder of ["hostd", "router", "lib"])
    for (const name of await readdir(folder, { recursive: true })) {
      if (!name.endsWith(".ts")) continue;
      const text = await readFile(`${folder}/${name}`, "utf8");
      if (/\bDate\.now\b|\.getTime\(\)|new Date\(\)\.valueOf|\+new Date\b/.test(text)) found.add(`${folder}/${name}`);
    }
  assert.equal([...found].sort(), Object.keys(READS).sort());
});

/** In control and the boot server: where the wall's clock itself is read, `now` of the context aside, which dates what is written down. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "bootstrap/bmc/sol.ts": "since when a console is kept, for people",
  "bootstrap/http/inventory.ts": "times of reports, in the order of the steps",
  "bootstrap/timeline.ts": "times of steps, for people",
  "control/log-drains/pump.ts": "how far a drain is behind, for people",
  "control/log-drains/send-https.ts": "a date in an answer, of which ten minutes at most are waited",
  "control/identity/authority.ts": "certificates' own dates",
  "control/identity/next-key.ts": "how long the key before is taken: written down, and read by `unhurriedNow`",
  "control/identity/principal.ts": "certificates' and tokens' own dates",
  "control/last-backup.ts": "when a backup ended, for people",
  "control/main.ts": "times of what is written down at the start",
  "control/restore.ts": "when a state was restored",
  "control/surplus.ts": "when an image was given up",
  "control/scheduler/cluster-view.ts": "how long ago jobs ended before this control began, bounded both ways",
  "control/scheduler/host-loop.ts": "until when a host is held, over a restart, bounded",
  "control/scheduler/scheduler.ts": "times of what is written down",
  "control/store/log-level.ts": "times of records",
  "control/store/owner.ts": "since when a state is in use, for people",
  "control/store/store.ts": "times of records",
  "control/wiring/context.ts": "the context's `now`",
};

test("control and the boot server wait by the monotonic clock too, over a restart by a date, which no jump of an hour ends early", async () => {
  const found = new Set<string>();
  for (const folder of ["bootstrap", "control"])
    for (const name of await readdir(folder, { recursive: true })) {
      if (!name.endsWith(".ts")) continue;
      const text = await readFile(`${folder}/${name}`, "utf8");
      if (/\bDate\.now\b|new Date\(\)/.test(text)) found.add(`${folder}/${name}`);
    }
  assert.equal([...found].sort(), Object.keys(ELSEWHERE).sort());
});

/**
 * In control and the boot server: where a date becomes a number, with which one can count a wait. Numbers that only go into an id, into a
 * date that is written down, or through `unhurriedNow` are none.
 */
const COUNTED: Readonly<Record<string, string>> = {
  "control/alerts/view.ts": "certificates' own dates",
  "control/builds/source.ts": "a file's own date, in an archive",
  "control/doctor/boot.ts": "how long a machine was silent, for people: over restarts",
  "control/doctor/diagnose.ts": "the same: how long ago",
  "control/doctor/rules/life.ts": "the same: of several boots",
  "control/doctor/rules/power.ts": "the same: since an order",
  "control/git/removed.ts": "days since a repository was removed: the date given is `unhurriedNow`'s",
  "control/identity/join.ts": "until when grants and tokens are good: the date given is `unhurriedNow`'s",
  "control/identity/next-key.ts": "how long the key before is taken: the date given is `unhurriedNow`'s",
  "control/identity/principal.ts": "certificates' and tokens' own dates",
  "control/routing/certificate.ts": "certificates' own dates",
  "control/store/restore.ts": "a term, which the clock only makes greater",
};
const HARMLESS =
  /unhurriedNow\([\w().]*\.getTime\(\)\)|newId\("\w+", [\w().]+\.getTime\(\)\)|= new Date\([\w().]+\.getTime\(\) \+ |expiresAt: new Date\([\w().]+\.getTime\(\) \+ /g;
const COUNTS = /\.getTime\(\)|\.valueOf\(\)|\bNumber\((?:\w+\.)*now\(\)\)|[^+]\+(?:\w+\.)*now\(\)/;

test("a wait in control or the boot server is not counted by the context's `now` either, which is the wall's clock", async () => {
  const found = new Set<string>();
  for (const folder of ["bootstrap", "control"])
    for (const name of await readdir(folder, { recursive: true })) {
      if (!name.endsWith(".ts")) continue;
      const text = await readFile(`${folder}/${name}`, "utf8");
      if (COUNTS.test(text.replace(HARMLESS, ""))) found.add(`${folder}/${name}`);
    }
  assert.equal([...found].sort(), Object.keys(COUNTED).sort());
});

test("what counts a wait by a clock is found, in each way that it can be written", () => {
  for (const text of [
    "const sinceMs = now().getTime() - startedAt;",
    "if (context.now().valueOf() > until) return;",
    "const ms = Number(now()) - at;",
    "const ms = +now() - at;",
    "const ms = at.getTime() - last;",
    "if (at.getTime() + WAIT_MS < unhurriedNow()) return;",
  ])
    assert.ok(COUNTS.test(text.replace(HARMLESS, "")), text);
  for (const text of [
    'const id = newId("job", now().getTime());',
    "const expiresAt = new Date(now().getTime() + TTL_MS).toISOString();",
    "const nowMs = unhurriedNow(at.getTime());",
    "return performance.now() - fromMs;",
  ])
    assert.not.ok(COUNTS.test(text.replace(HARMLESS, "")), text);
});

const [HOUR, DAY] = [3_600_000, 86_400_000];
const AT = Date.parse("2026-06-01T12:00:00Z");
const JUMPS: [claim: string, wallMs: number, nowMs: number][] = [
  ["runs on", AT, AT],
  ["was set an hour ahead", AT + HOUR, AT],
  ["was set an hour back", AT - HOUR, AT - HOUR],
  ["was set a day ahead", AT + DAY, AT],
  ["was years behind until it was set", AT + 1_000 * DAY, AT + 999 * DAY],
  ["was set years back", AT - 1_000 * DAY, AT - 1_000 * DAY],
];
for (const [claim, wallMs, nowMs] of JUMPS)
  test(`what ends by a date ends no earlier than it should when the clock ${claim}`, () => {
    assert.is(unhurriedNow(wallMs, AT), nowMs);
  });

test.run();
