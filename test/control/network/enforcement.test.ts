// How far hosts enforce their reach, as people read it.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { NetworkHost } from "#api/network.ts";
import { keys } from "../../../control/keys.ts";
import {
  enforcement,
  enforcementOn,
  hostsEnforcing,
  lateHosts,
  networkPart,
} from "../../../control/network/enforcement.ts";
import type { HostRecord } from "../../../control/records.ts";
import { kept } from "../kept.ts";

const host = (id: string, state = "ready") => ({ id, name: `box-${id}`, state }) as HostRecord;

test("a host is current when it enforces the newest version or a later one of the same term, else behind", () => {
  const of = (term: number, reachVersion: number | undefined, state = "ready") =>
    enforcement(host("1", state), {
      term: 2,
      version: 7,
      report: { term, ...(reachVersion === undefined ? {} : { reachVersion }) },
    });
  const is = { id: "1", name: "box-1", version: 7 };
  assert.equal(of(2, 7), { ...is, state: "current", enforcedVersion: 7 });
  assert.equal(of(2, 8), { ...is, state: "current", enforcedVersion: 8 });
  assert.equal(of(2, 6), { ...is, state: "behind", enforcedVersion: 6 });
  assert.equal(of(1, 9), { ...is, state: "behind", enforcedVersion: 9 }, "a version of another term");
  assert.equal(of(2, 0), { ...is, state: "behind", enforcedVersion: 0 });
  assert.equal(of(2, undefined), { ...is, state: "unsupported" });
  assert.equal(of(2, 7, "lost"), { ...is, state: "silent" });
  assert.equal(enforcement(host("1"), { term: 2, version: 7, report: undefined }), { ...is, state: "silent" });
});

test("late is who should enforce a change, could, and does not", () => {
  const late = (state: NetworkHost["state"], version: number, enforcedVersion?: number) =>
    lateHosts(
      [{ id: "1", name: "box", state, version, ...(enforcedVersion === undefined ? {} : { enforcedVersion }) }],
      5,
    );
  assert.equal(late("behind", 5, 4), ["box"]);
  assert.equal(late("behind", 6, 4), ["box"]);
  assert.equal(late("behind", 6), ["box"]);
  assert.equal(late("behind", 6, 5), [], "it has that one, and not yet the next");
  assert.equal(late("behind", 4, 3), [], "the change does not reach it");
  for (const state of ["current", "silent", "unsupported"] as const) assert.equal(late(state, 6, 4), [], state);
});

const at = (state: NetworkHost["state"], name: string, ageMs = 0) => ({
  host: { id: name, name, state, version: 1 },
  ageMs,
});

test("the network is sound unless a host cannot enforce it, or has not for ten seconds; which ones is said", () => {
  const part = (...hosts: ReturnType<typeof at>[]) => networkPart({ appNetwork: "app", egress: "internet" }, hosts);
  const settings = "apps reach their own app and what rules open, outside: internet";
  const ok = { name: "network", state: "ok", message: settings } as const;
  assert.equal(part(), ok);
  assert.equal(part(at("current", "a", 60_000), at("silent", "b", 60_000), at("behind", "c", 9_999)), ok);
  const old = "not known to be enforced on a, b: the agent is too old, or manages no network";
  const unsupported = part(at("unsupported", "a"), at("unsupported", "b", 60_000), at("current", "c"));
  assert.equal(unsupported, { ...ok, state: "degraded", message: `${settings}; ${old}` });
  assert.equal(part(at("behind", "a", 10_000), at("behind", "b", 20_000), at("behind", "c")), {
    ...ok,
    state: "degraded",
    message: `${settings}; a, b enforces an older state`,
  });
  const both = part(at("unsupported", "a"), at("unsupported", "b"), at("behind", "c", 10_000));
  assert.is(both.message, `${settings}; ${old}; c enforces an older state`);
  const open = networkPart({ appNetwork: "cluster", egress: "none" } as never, []);
  assert.is(open.message, "apps reach every app, outside: none");
});

test("each host is held against its own reach and what it reported last", () => {
  const store = kept({ [keys.host("1")]: host("1"), [keys.host("2")]: host("2"), [keys.host("3")]: host("3") });
  const around = {
    store,
    reaches: { of: (id: string) => ({ version: Number(id) * 10 }), ageMs: (id: string) => Number(id) },
    presence: { hosts: new Map([1, 2].map((n) => [String(n), { report: { term: 1, reachVersion: 10 } }])) },
  } as unknown as Parameters<typeof hostsEnforcing>[0];
  assert.equal(
    hostsEnforcing(around).map(({ host: { id, state }, ageMs }) => [id, state, ageMs]),
    [
      ["1", "current", 1],
      ["2", "behind", 2],
      ["3", "silent", 3],
    ],
  );
  assert.equal(enforcementOn(host("2"), around).version, 20);
});

test.run();
