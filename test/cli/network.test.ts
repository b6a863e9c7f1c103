// time limit: 120 s
// Rules between apps as the CLI makes, shows and removes them, against a real control with hosts that report what they enforce.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listJobs } from "#api/jobs.ts";
import type { NetworkHost } from "#api/network.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import { certificatePin } from "#lib/x509.ts";
import { behind, unproven } from "../../cli/apps/network-hosts.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { type FakeHost, rig } from "../control/rig.ts";
import { invoke } from "./invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-network-"));
const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
const control = await rig({ appEgress: "all", closedNetworks: ["10.20.0.0/16"] });
const flynn = (...argv: string[]) => invoke(argv, { env, cwd: directory });
const fleet: FakeHost[] = [];

test.before(async () => {
  const { url, caPem, token, admin } = control;
  await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
  for (const _ of [1, 2]) {
    const host = await control.host();
    host.start();
    fleet.push(host);
  }
  for (const name of ["blog", "db"]) {
    await admin.call(createService, { body: { name, image: "x", count: 1 } });
    await until(
      async () => (await admin.call(listJobs, { params: { app: name } })).items.some(({ state }) => state === "up"),
      { what: `a job of ${name}`, timeoutMs: 10_000 },
    );
  }
});
test.after(async () => {
  await control.close();
  await rm(directory, { recursive: true, force: true });
});

const well = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await flynn(...argv);
  assert.is(code, 0, `${argv.join(" ")}: ${err}`);
  return out;
};

test("a rule is made, listed and removed; both wait until the hosts enforce it", async () => {
  assert.is(await well("network", "allow", "blog", "db"), "Jobs of blog may open connections to jobs of db.\n");
  for (const host of fleet) assert.is(host.target!.reach!.apps.length, 2, "the host has it by then");
  assert.is(await well("network:allow", "blog", "db"), "Jobs of blog may open connections to jobs of db.\n");
  assert.match(await well("network", "list"), /^FROM +TO +ID +BY +SINCE\nblog +db +rule-\w+ +\S+ +\S+Z\n$/);
  assert.match(await well("network", "list", "-a", "db"), /blog +db/);
  const [rule] = JSON.parse(await well("network", "list", "--json")) as { from: { name: string } }[];
  assert.is(rule!.from.name, "blog");
  assert.is(await well("network", "remove", "blog", "db"), "Jobs of blog no longer open connections to jobs of db.\n");
  for (const host of fleet) assert.is(host.target!.reach!.apps.length, 1);
  const empty = await flynn("network", "list");
  assert.equal([empty.code, empty.err], [0, "no rules; make one: flynn network allow FROM TO\n"]);
});

test("a host that does not take the rule in is named, with exit code 6; the rule stays", async () => {
  const [slow] = fleet;
  const version = slow!.target!.reach!.version;
  slow!.enforced = () => version;
  try {
    const { code, err } = await flynn("network", "allow", "blog", "db", "--timeout", "1s");
    assert.is(code, 6, err);
    assert.match(
      err,
      /error: the rule blog -> db is made, but not in force yet on host h1; .*: flynn network hosts\n$/,
    );
    assert.match(await well("network", "hosts"), /^h1 +behind +\d+ +\d+ +host-\w+$/m);
    assert.match(await well("network", "hosts"), /^h2 +current /m);
    assert.is(
      await well("network", "remove", "blog", "db", "--detach"),
      "Jobs of blog no longer open connections to jobs of db.\n",
    );
  } finally {
    slow!.enforced = () => slow!.target?.reach?.version;
  }
});

test("a host whose agent is too old to say is not waited for, and named", async () => {
  const [old] = fleet;
  old!.enforced = () => undefined;
  try {
    await until(async () => /^h1 +unsupported/m.test(await well("network", "hosts")), {
      what: "its report",
      timeoutMs: 30_000,
    });
    assert.is(
      await well("network", "allow", "blog", "db"),
      "Jobs of blog may open connections to jobs of db (not proven on h1: its agent is too old, or manages no network).\n",
    );
    const doctor = await flynn("doctor", "--state", join(directory, "no-state"));
    assert.is(doctor.code, 1);
    assert.match(
      doctor.out,
      /warning: network: degraded: .*not known to be enforced on h1: the agent is too old, or manages no network\n +do: +flynn network hosts/,
    );
    await well("network", "remove", "blog", "db", "--detach");
  } finally {
    old!.enforced = () => old!.target?.reach?.version;
  }
});

test("what is not there is said, with what lists it", async () => {
  const unknown = await flynn("network", "allow", "blog", "nosuch");
  assert.equal([unknown.code, unknown.err], [3, "error: no app nosuch; see `flynn apps`\n"]);
  const none = await flynn("network", "remove", "db", "blog");
  assert.equal([none.code, none.err], [3, "error: no rule lets db reach blog; see `flynn network list`\n"]);
  assert.is((await flynn("network", "allow", "blog")).code, 2);
  assert.is((await flynn("network", "allow", "blog", "db", "--timeout", "soon")).code, 2);
});

test("the cluster's settings are shown", async () => {
  const shown = await well("network");
  assert.match(shown, /^Apps reach: +their own app; others by `flynn network allow FROM TO`/m);
  assert.match(shown, /^Outside: +everything but closed networks \(--app-egress all\)$/m);
  assert.match(shown, /^Closed: +10\.20\.0\.0\/16/m);
  assert.match((await flynn("status")).out, /network +ok +apps reach their own app and what rules open, outside: all/);
});

const CHANGE = 50;
const HOSTS: [claim: string, host: Partial<NetworkHost>, isWaitedFor: boolean, words: string][] = [
  ["one that enforces it", { state: "current", version: 50, enforcedVersion: 50 }, false, ""],
  ["one that is behind", { state: "behind", version: 50, enforcedVersion: 49 }, true, ""],
  ["one behind by later changes only", { state: "behind", version: 60, enforcedVersion: 55 }, false, ""],
  ["one it does not concern", { state: "behind", version: 40, enforcedVersion: 30 }, false, ""],
  [
    "a silent one",
    { state: "silent", version: 50 },
    false,
    " (not proven on h1: silent, takes it in when heard again)",
  ],
  ["a silent one it does not concern", { state: "silent", version: 40 }, false, ""],
];
for (const [claim, host, isWaitedFor, words] of HOSTS)
  test(`of hosts, ${claim} is ${isWaitedFor ? "" : "not "}waited for`, () => {
    const hosts = [{ id: "host-1", name: "h1", ...host } as NetworkHost];
    assert.is(behind(hosts, CHANGE).length, isWaitedFor ? 1 : 0);
    assert.is(unproven(hosts, CHANGE), words);
  });

test.run();
