// Every rule by its table: what raises it, and what is near it and does not.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { AlertKind } from "#api/alerts.ts";
import { AlertKind as KINDS } from "#api/alerts.ts";
import type { HostReport } from "#api/host-agents.ts";
import { commands } from "../../../cli/commands.ts";
import type { AlertView } from "../../../control/alerts/rule.ts";
import { nearEnd } from "../../../control/alerts/rules/certificates.ts";
import { ALERT_RULES } from "../../../control/alerts/rules.ts";
import { AT, host, inDays, job, machine, well } from "./view.ts";

const router = { id: "rt-1", name: "edge", silentMs: 1_000, healthy: true, reason: "" };
const life = { id: "h-1", name: "node-1", of: "host" as const, notBefore: inDays(-20), notAfter: inDays(10) };
const certificate = { id: "c-1", names: ["a.com", "b.com"], notBefore: inDays(-60), notAfter: inDays(30) };
const disk = well().disk!;
/** Reports of a host whose clock is off by so much. */
const clock = (offMs: number | undefined): AlertView["reports"] => {
  const now = offMs === undefined ? {} : { now: new Date(Date.parse(AT) + offMs).toISOString() };
  return new Map([["h-1", { at: AT, report: now as HostReport }]]);
};
const pending = {
  kind: "changed" as const,
  at: inDays(-1),
  reason: "its card showed up in another machine",
  claim: "x",
};

const rogue = {
  ...{ address: "10.77.0.9", card: "52:54:00:00:00:09", gives: "10.77.0.40", boots: false },
  rogueAs: "new" as const,
};

/** Of each kind: a view where it is wanted, how severe it is and what it says; then views where it is not. */
const TABLE: Record<
  AlertKind,
  { raised: [Partial<AlertView>, "critical" | "warning", RegExp][]; not: Partial<AlertView>[] }
> = {
  "host-lost": {
    raised: [
      [
        { hosts: [host({ state: "lost", reason: "silent for 10 s" })] },
        "critical",
        /host node-1 is lost.*silent for 10 s.*started on other hosts.*flynn host show node-1/s,
      ],
      [{ hosts: [host({ state: "lost", machineId: "m-1" })] }, "critical", /flynn machine explain m-1$/],
      [
        { hosts: [host({ state: "lost" })], brake: { on: true, waiting: 1, allowedPerMinute: 1 } },
        "critical",
        /left alone while the brake is on/,
      ],
    ],
    not: [{ hosts: [host(), host({ state: "joining" }), host({ state: "unhealthy" }), host({ cordoned: true })] }],
  },
  "host-unhealthy": {
    raised: [[{ hosts: [host({ state: "unhealthy", reason: "docker hangs" })] }, "critical", /docker hangs/]],
    not: [{ hosts: [host(), host({ state: "lost", reason: "docker hangs" })] }],
  },
  "host-pressure": {
    raised: [[{ hosts: [host({ shortOf: "disk" })] }, "warning", /short of disk.*flynn host show node-1/s]],
    not: [{ hosts: [host(), host({ state: "lost", shortOf: "disk" })] }],
  },
  "clock-off": {
    raised: [
      [{ hosts: [host()], reports: clock(3_600_000) }, "critical", /node-1 is 1h\S* ahead of control's.*chrony/s],
      [{ hosts: [host()], reports: clock(-31_000) }, "warning", /30s behind control's/],
      [{ hosts: [host()], reports: clock(-3_000) }, "warning", /some seconds behind/],
    ],
    not: [
      { hosts: [host()], reports: clock(1_000) },
      { hosts: [host()], reports: clock(undefined) },
      { hosts: [host({ state: "lost" })], reports: clock(3_600_000) },
      { hosts: [host()] },
    ],
  },
  brake: {
    raised: [[{ brake: { on: true, waiting: 4, allowedPerMinute: 1 } }, "critical", /lost together.*flynn host list/s]],
    not: [{ brake: { on: false, waiting: 4, allowedPerMinute: 1 } }],
  },
  "router-down": {
    raised: [
      [{ routers: [{ ...router, silentMs: 21_000 }] }, "critical", /router edge is silent.*flynn router remove rt-1/s],
      [
        { routers: [{ ...router, healthy: false, reason: "haproxy does not start" }] },
        "critical",
        /haproxy does not start/,
      ],
    ],
    not: [{ routers: [router, { ...router, silentMs: 19_000 }] }],
  },
  "router-behind": {
    raised: [
      [
        { routers: [{ ...router, behindMs: 16_000 }] },
        "critical",
        /router edge serves an old state.*flynn router list/s,
      ],
    ],
    not: [
      { routers: [{ ...router, behindMs: 14_000 }] },
      { routers: [{ ...router, silentMs: 21_000, behindMs: 90_000 }] }, // it is down, and that is what is raised
    ],
  },
  "machine-waits": {
    raised: [
      [{ machines: [machine({ pending })] }, "warning", /waits for a decision.*another machine.*flynn machine show/s],
    ],
    not: [{ machines: [machine(), machine({ state: "discovered" })] }],
  },
  "machine-fell-back": {
    raised: [
      [
        { machines: [machine({ fallback: { stage: "image", imageId: "old", reason: "3 boots", at: AT } })] },
        "warning",
        /boots old instead.*3 boots.*flynn machine approve.*flynn machine explain/s,
      ],
    ],
    not: [{ machines: [machine(), machine({ state: "booting" })] }],
  },
  "machine-loops": {
    raised: [
      [
        { machines: [machine({ state: "failed", reason: "5 boots ended in the initrd" })] },
        "critical",
        /boots again and again.*5 boots ended in the initrd.*flynn machine explain/s,
      ],
    ],
    not: [{ machines: [machine({ state: "booting" }), machine({ state: "ready" })] }],
  },
  "rogue-dhcp": {
    raised: [
      [
        { lans: [{ id: "b-1", name: "boot", servers: [rogue] }] },
        "critical",
        /another DHCP server answers where boot boots machines: 10\.77\.0\.9.*card 52:54:00:00:00:09.*was not there.*flynn doctor network/s,
      ],
      [
        {
          lans: [
            { id: "b-1", name: "boot", servers: [{ ...rogue, rogueAs: "boots", boots: true, file: "pxelinux.0" }] },
          ],
        },
        "warning",
        /tells machines what to boot \(pxelinux\.0\).*whichever answers first/s,
      ],
    ],
    not: [{ lans: [{ id: "b-1", name: "boot", servers: [] }] }],
  },
  "bmc-factory-password": {
    raised: [
      [
        { machines: [machine({})], factoryBmcs: [{ machineId: machine({}).id, address: "10.0.0.9", user: "ADMIN" }] },
        "warning",
        /password that it left its factory with.*10\.0\.0\.9.*ADMIN.*flynn machine bmc set/s,
      ],
    ],
    not: [
      { machines: [machine({})] },
      { machines: [machine({})], factoryBmcs: [{ machineId: "gone", address: "10.0.0.9", user: "ADMIN" }] },
    ],
  },
  "certificate-ends": {
    raised: [
      [
        { certificates: [{ ...certificate, notAfter: inDays(13) }] },
        "warning",
        /a\.com ends in 13 days.*1 more names.*flynn cert update c-1/s,
      ],
      [{ certificates: [{ ...certificate, notAfter: inDays(1) }] }, "critical", /ends in 1 day$/m],
      [{ certificates: [{ ...certificate, notAfter: inDays(0.5) }] }, "critical", /ends today/],
      [{ certificates: [{ ...certificate, notAfter: inDays(-1) }] }, "critical", /ended at/],
    ],
    not: [{ certificates: [certificate, { ...certificate, notBefore: inDays(-2), notAfter: inDays(4) }] }],
  },
  "member-certificate-ends": {
    raised: [
      [
        { ownCertificates: [{ ...life, notAfter: inDays(5) }] },
        "warning",
        /host node-1 ends in 5 days.*flynn host show node-1/s,
      ],
      [
        { ownCertificates: [{ ...life, of: "boot-server", notAfter: inDays(1) }] },
        "critical",
        /boot server node-1 ends/,
      ],
    ],
    not: [{ ownCertificates: [life, { ...life, of: "control", notAfter: inDays(1) }] }],
  },
  "control-certificate-ends": {
    raised: [
      [
        { ownCertificates: [{ ...life, name: "the API", of: "control", notAfter: inDays(5) }] },
        "warning",
        /certificate of the API ends/,
      ],
    ],
    not: [
      {
        ownCertificates: [
          { ...life, notAfter: inDays(1) },
          { ...life, of: "control" },
        ],
      },
    ],
  },
  "crash-loop": {
    raised: [
      [
        { restarted: [job(), job({ id: "j-2", process: "worker" }), job({ id: "j-3" })] },
        "critical",
        /hello crashes again and again \(web, worker\).*exited with 1.*flynn log -a hello/s,
      ],
    ],
    not: [
      {
        restarted: [
          job({ restarts: 2 }),
          job({ state: "up" }),
          job({ desired: "stop" }),
          job({ task: { kind: "run", attach: false, tty: false, createdBy: "x" } }),
        ],
      },
    ],
  },
  "disk-low": {
    raised: [[{ disk: { ...disk, low: true } }, "critical", /nearly full.*\/var\/lib\/flynn/s]],
    not: [{ disk }],
  },
  "writes-paused": {
    raised: [[{ pausedWrites: "no space is left" }, "critical", /cannot be written.*no space is left.*refused/s]],
    not: [{ pausedWrites: undefined }],
  },
  "disk-slow": {
    raised: [[{ worstWriteMs: 1_500 }, "warning", /disk is slow.*longer than a second/s]],
    not: [{ worstWriteMs: 900 }],
  },
  "registry-down": {
    raised: [[{ registryProblem: "connect ECONNREFUSED" }, "critical", /connect ECONNREFUSED/]],
    not: [{ registryProblem: undefined }],
  },
  "snapshot-failing": {
    raised: [[{ snapshotProblem: "ENOSPC: no space left" }, "warning", /ENOSPC.*flynn cluster backup/s]],
    not: [{ snapshotProblem: undefined }],
  },
  "backup-failing": {
    raised: [
      [
        { lastBackup: { at: AT, out: "/mnt/b.bak", problem: "ENOSPC: no space left" } },
        "warning",
        /\/mnt\/b\.bak was not written: ENOSPC.*flynn cluster backup/s,
      ],
    ],
    not: [{ lastBackup: null }, { lastBackup: { at: AT, out: "/mnt/b.bak" } }],
  },
  "loop-failing": {
    raised: [
      [
        { failingLoops: [{ name: "git", reason: "EMFILE", times: 3 }] },
        "critical",
        /fails again and again: git.*3 times in a row, last: EMFILE.*flynn status/s,
      ],
    ],
    not: [{ failingLoops: [{ name: "git", reason: "EMFILE", times: 2 }] }],
  },
  "app-not-scheduled": {
    raised: [
      [
        { failingApps: [{ id: "a-1", name: "shop", reason: "no tags" }] },
        "critical",
        /jobs of shop.*no tags.*flynn ps -a shop/s,
      ],
    ],
    not: [{ failingApps: [] }],
  },
  quarantine: {
    raised: [
      [
        {
          reports: new Map([["h1", { at: AT, report: { quarantined: [{ jobId: "j1", app: "shop" }] } as HostReport }]]),
        },
        "critical",
        /shop.*flynn quarantine end/s,
      ],
    ],
    not: [{ reports: new Map([["h1", { at: AT, report: {} as HostReport }]]) }],
  },
};

for (const { kind, wanted } of ALERT_RULES)
  test(`${kind} is wanted exactly where somebody should act`, () => {
    const { raised, not } = TABLE[kind];
    assert.equal(wanted(well()), [], "where all is well");
    for (const view of not) assert.equal(wanted(well(view)), [], JSON.stringify(view));
    for (const [view, severity, text] of raised) {
      const found = wanted(well(view)) ?? [];
      assert.is(found.length, 1, JSON.stringify(view));
      const { what, why, next } = found[0]!;
      assert.is(found[0]!.severity, severity);
      assert.match(`${what}\n${why}\n${next}`, text);
    }
  });

/** Seconds that a condition holds before people hear of it, and that it is gone before that is over. */
const SECONDS: Record<AlertKind, [raise: number, clear: number]> = {
  "host-lost": [0, 30],
  "host-unhealthy": [15, 30],
  "host-pressure": [15, 60],
  "clock-off": [30, 60],
  brake: [0, 30],
  "router-down": [15, 30],
  "router-behind": [60, 30],
  "machine-waits": [0, 0],
  "machine-fell-back": [0, 0],
  "machine-loops": [0, 0],
  "rogue-dhcp": [0, 60],
  "bmc-factory-password": [0, 0],
  "certificate-ends": [0, 0],
  "member-certificate-ends": [60, 60],
  "control-certificate-ends": [60, 60],
  "crash-loop": [0, 120],
  "app-not-scheduled": [15, 30],
  "loop-failing": [0, 10],
  "disk-low": [10, 30],
  "writes-paused": [0, 10],
  "disk-slow": [10, 60],
  "registry-down": [30, 30],
  "snapshot-failing": [0, 0],
  "backup-failing": [0, 0],
  quarantine: [0, 10],
};
test("how long each condition holds before it is raised, and is gone before it is cleared", () => {
  for (const { kind, raiseAfterMs, clearAfterMs } of ALERT_RULES)
    assert.equal([raiseAfterMs / 1000, clearAfterMs / 1000], SECONDS[kind], kind);
});

const wantedOf = (kind: AlertKind, view: Partial<AlertView>) =>
  ALERT_RULES.find((rule) => rule.kind === kind)!.wanted(well(view)) ?? [];

test("of a crash loop the reason is that of the app's first job, its processes are in order, each app is one", () => {
  const jobs = [
    job({ id: "j-2", process: "worker", reason: "second" }),
    job({ id: "j-1", process: "web", reason: "first" }),
    job({ id: "j-3", process: "clock", reason: "third" }),
    job({ id: "j-4", appId: "a-2", app: "other", reason: "" }),
  ];
  for (const restarted of [jobs, jobs.toReversed()]) {
    const found = wantedOf("crash-loop", { restarted }).toSorted((a, b) => (a.subject.id < b.subject.id ? -1 : 1));
    assert.equal(
      found.map(({ subject, what }) => [subject, what]),
      [
        [{ kind: "app", id: "a-1", name: "hello" }, "hello crashes again and again (clock, web, worker)"],
        [{ kind: "app", id: "a-2", name: "other" }, "other crashes again and again (web)"],
      ],
    );
    assert.match(found[0]!.why, /^first;/);
    assert.match(found[1]!.why, /^it ends soon after each start;/);
  }
});

test("going back is advised where there is a release to go back to, and not at an app's first", () => {
  const why = (canGoBack: Set<string>) => wantedOf("crash-loop", { restarted: [job()], canGoBack })[0]!.why;
  assert.match(why(new Set(["a-1"])), /To go back to the release before: flynn rollback -a hello$/);
  for (const others of [new Set<string>(), new Set(["a-2"])]) assert.not.match(why(others), /rollback|go back/);
});

test("what was decided on containers of a restored state is not asked again", () => {
  const report = { quarantined: [{ jobId: "j1", app: "shop" }] } as HostReport;
  const reports = new Map([["h1", { at: AT, report }]]);
  const of = (quarantineDecision: AlertView["quarantineDecision"]) =>
    wantedOf("quarantine", { reports, quarantineDecision })[0]!;
  const kept = of("keep");
  assert.is(kept.severity, "warning");
  assert.match(`${kept.what}\n${kept.why}`, /are kept\nit was decided that they run on.*shop/);
  assert.is(kept.next, "flynn quarantine end");
  assert.match(`${of("end").what}\n${of("end").why}`, /are being ended\nit was decided that they end.*shop/);
  for (const decision of ["keep", "end"] as const) assert.not.match(of(decision).why, /ten minutes|quarantine keep/i);
  assert.is(of(undefined).next, "flynn quarantine keep");
});

test("a certificate of one name is spoken of by that name, and one that ends now has ended", () => {
  const one = { ...certificate, names: ["a.com"], notAfter: inDays(0) };
  const [{ what, why } = {} as never] = wantedOf("certificate-ends", { certificates: [one] }) as {
    what: string;
    why: string;
  }[];
  assert.is(what, `the certificate of a.com ended at ${AT}`);
  assert.match(why, /^clients refuse a\.com from then on/);
  const [{ subject, what: bare } = {} as never] = wantedOf("certificate-ends", {
    certificates: [{ ...one, names: [] }],
  });
  assert.equal([subject.name, bare], ["c-1", `the certificate of c-1 ended at ${AT}`]);
});

test("whose certificate could not be renewed says where to look next", () => {
  const next = (of: "host" | "router" | "boot-server") =>
    wantedOf("member-certificate-ends", { ownCertificates: [{ ...life, of, notAfter: inDays(1) }] }).map(
      ({ next }) => next,
    );
  assert.equal(
    [next("host"), next("router"), next("boot-server")],
    [["flynn host show node-1"], ["flynn router list"], ["flynn status"]],
  );
});

test("a write of a second is a slow disk's, and twenty seconds are not yet a silent router's", () => {
  assert.equal(
    [999, 1_000].map((worstWriteMs) => wantedOf("disk-slow", { worstWriteMs }).length),
    [0, 1],
  );
  assert.equal(
    [20_000, 20_001].map((silentMs) => wantedOf("router-down", { routers: [{ ...router, silentMs }] }).length),
    [0, 1],
  );
  const sick = wantedOf("router-down", { routers: [{ ...router, healthy: false, silentMs: 20_000 }] });
  assert.equal(
    sick.map(({ what, why }) => [what, why]),
    [["router edge is not well", "it gives no reason; changes of routes may not be served"]],
  );
});

test("how far a clock is off is rounded, so that the words stay the same from report to report", () => {
  const ROWS: [offMs: number, severity: string, words: string][] = [
    [9_999, "warning", "some seconds ahead of"],
    [10_000, "warning", "10s ahead of"],
    [-14_999, "warning", "10s behind"],
    [15_000, "warning", "20s ahead of"],
    [119_999, "warning", "2m00s ahead of"],
    [-120_000, "warning", "2m00s behind"],
    [149_000, "warning", "2m00s ahead of"],
    [151_000, "warning", "3m00s ahead of"],
    [299_999, "warning", "5m00s ahead of"],
    [300_000, "critical", "5m00s ahead of"],
    [-300_000, "critical", "5m00s behind"],
  ];
  for (const [offMs, severity, words] of ROWS) {
    const [found] = wantedOf("clock-off", { hosts: [host()], reports: clock(offMs) });
    assert.equal(
      [found?.severity, found?.what],
      [severity, `the clock of host node-1 is ${words} control's`],
      `${offMs}`,
    );
  }
});

test("the apps of containers that a restored state does not know are named, ten of them", () => {
  const named = (count: number) => {
    const quarantined = Array.from({ length: count }, (_, n) => ({
      jobId: `j${n}`,
      app: `app-${String.fromCharCode(97 + count - 1 - n)}`,
    }));
    const report = { quarantined: [...quarantined, ...quarantined] } as unknown as HostReport;
    const [found] = wantedOf("quarantine", { reports: new Map([["h1", { at: AT, report }]]) });
    return [found!.what.split(" ")[0], /by apps (.*?)\. Ten/.exec(found!.why)![1]];
  };
  const letters = (text: string) => [...text].map((each) => `app-${each}`).join(", ");
  assert.equal(named(2), ["4", letters("ab")]);
  assert.equal(named(10), ["20", letters("abcdefghij")]);
  assert.equal(named(11), ["22", `${letters("abcdefghij")} and 1 more`]);
  assert.equal(named(13), ["26", `${letters("abcdefghij")} and 3 more`]);
});

test("one container that a restored state does not know is one, and how many there are is put right within seconds", () => {
  const report = { quarantined: [{ jobId: "j1", app: "shop" }] } as HostReport;
  const [found] = wantedOf("quarantine", { reports: new Map([["h1", { at: AT, report }]]) });
  assert.is(found!.what, "1 container runs that the restored state does not know");
  const { rewordAfterMs = 60_000 } = ALERT_RULES.find(({ kind }) => kind === "quarantine")!;
  assert.ok(rewordAfterMs <= 10_000, `${rewordAfterMs} ms`);
});

test("every kind of the contract has one rule", () => {
  const { enum: kinds } = KINDS as unknown as { enum: string[] };
  assert.equal(ALERT_RULES.map(({ kind }) => kind).sort(), [...kinds].sort());
});

test("what to do next is one line that begins with a command of flynn, in every alert", () => {
  const nexts = ALERT_RULES.flatMap(({ kind, wanted, all }) => [
    all,
    ...TABLE[kind].raised.flatMap(([view]) => (wanted(well(view)) ?? []).map(({ next }) => next)),
  ]);
  const known = commands.map(({ words }) => words);
  for (const next of nexts) {
    const words = next.replace(/^flynn /, "");
    assert.ok(next.startsWith("flynn ") && known.some((each) => words === each || words.startsWith(`${each} `)), next);
    assert.not.match(next, /[\n;|&<>$`]/);
  }
});

test("what cannot be read is not known, be it the free space or how the last backup went: what stands goes on to stand", () => {
  const rule = ALERT_RULES.find(({ kind }) => kind === "disk-low")!;
  assert.is(rule.wanted(well({ disk: undefined })), undefined);
  const backup = ALERT_RULES.find(({ kind }) => kind === "backup-failing")!;
  assert.is(backup.wanted(well({ lastBackup: undefined })), undefined);
});

test("how near its end a certificate is depends on how long it lives", () => {
  const table: [number, number, string | undefined][] = [
    [90, 15, undefined],
    [90, 14, "warning"],
    [90, 3.5, "warning"],
    [90, 3, "critical"],
    [365, 15, undefined],
    [6, 2, undefined],
    [6, 1.4, "warning"],
    [6, 1.5, "warning"],
    [6, 0.61, "warning"],
    [6, 0.6, "critical"],
  ];
  for (const [days, left, severity] of table) {
    const ends = { notBefore: inDays(left - days), notAfter: inDays(left) };
    assert.is(nearEnd(ends, Date.parse(AT)), severity, `${left} of ${days} days`);
  }
});

test.run();
