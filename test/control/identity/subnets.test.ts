// What hosts get of the cluster's range, when one is removed, when there are none left, and when the range is made wider.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { deleteHost, listHosts } from "#api/hosts.ts";
import {
  freeSubnet,
  isWider,
  type RestingSubnet,
  SUBNET_REST_MS,
  withResting,
} from "../../../control/identity/subnets.ts";
import { keys } from "../../../control/keys.ts";
import type { ClusterSettings } from "../../../control/records.ts";
import { withRig } from "../rig.ts";

const AT = Date.parse("2026-06-01T00:00:00Z");
const ago = (ms: number): RestingSubnet => ({ subnet: "10.0.1.0/24", freedAt: new Date(AT - ms).toISOString() });

test("the subnet of a removed host is nobody's for an hour, and then anybody's", () => {
  const next = (ms: number, taken: string[] = []) =>
    freeSubnet("10.0.0.0/22", taken, { resting: [ago(ms)], nowMs: AT });
  assert.is(next(0), "10.0.2.0/24");
  assert.is(next(SUBNET_REST_MS - 1), "10.0.2.0/24");
  assert.is(next(SUBNET_REST_MS), "10.0.1.0/24");
});

test("where none is left it is said what is taken, what frees itself, and what to do", () => {
  const taken = ["10.0.2.0/24", "10.0.3.0/24"];
  try {
    freeSubnet("10.0.0.0/22", taken, { resting: [ago(60_000)], nowMs: AT });
    assert.unreachable();
  } catch (error) {
    assert.ok(isFault(error, "no-capacity"));
    assert.match(
      error.message,
      /^all 3 subnets of 10\.0\.0\.0\/22 are taken, 1 of them by hosts removed less than an hour ago\. .*--cluster-range 10\.0\.0\.0\/20$/,
    );
  }
});

test("what has rested is forgotten, and a subnet rests once", () => {
  const now = new Date(AT);
  const mine = { subnet: "10.0.2.0/24", freedAt: now.toISOString() };
  assert.equal(withResting([ago(SUBNET_REST_MS)], "10.0.2.0/24", now), [mine]);
  assert.equal(withResting([ago(5)], "10.0.2.0/24", now), [ago(5), mine]);
  assert.equal(withResting([{ ...mine, freedAt: "2026-05-31T23:59:00Z" }], "10.0.2.0/24", now), [mine]);
});

for (const [wider, range, expected] of [
  ["100.64.0.0/14", "100.64.0.0/16", true],
  ["100.64.0.0/10", "100.127.0.0/16", true],
  ["10.0.0.0/8", "10.0.0.0/9", true],
  ["10.0.0.0/8", "10.128.0.0/9", true],
  ["100.64.0.0/16", "100.64.0.0/16", false],
  ["100.64.0.0/16", "100.64.0.0/14", false],
  ["100.68.0.0/14", "100.64.0.0/16", false],
  ["10.0.0.0/8", "100.64.0.0/16", false],
] as const)
  test(`${wider} is ${expected ? "" : "not "}wider than ${range}, which it has in it`, () =>
    assert.is(isWider(wider, range), expected));

test("a cluster's range grows at a restart, hosts keep their subnets, and it never shrinks or moves", () =>
  withRig(
    async (rig) => {
      const first = await rig.host("node-1");
      const subnetOf = async (name: string) =>
        (await rig.admin.call(listHosts)).items.find((host) => host.name === name)?.subnet;
      const range = () => rig.store.get<ClusterSettings>(keys.cluster)!.value.clusterRange;
      assert.is(await subnetOf("node-1"), "100.64.1.0/24");
      rig.config.clusterRange = "100.64.0.0/12";
      await rig.restart();
      assert.is(range(), "100.64.0.0/12");
      assert.is(await subnetOf("node-1"), "100.64.1.0/24");
      await rig.admin.call(deleteHost, { params: { id: first.id } });
      await rig.host("node-2");
      assert.is(await subnetOf("node-2"), "100.64.2.0/24", "that of the removed host rests");
      rig.config.clusterRange = "100.64.0.0/16"; // as when it is not given any more
      await rig.restart();
      assert.equal([range(), rig.config.clusterRange], ["100.64.0.0/12", "100.64.0.0/12"]);
      rig.config.clusterRange = "10.0.0.0/8";
      const error = await rig.restart().then(
        () => undefined,
        (cause: unknown) => cause,
      );
      assert.ok(isFault(error, "invalid"));
      assert.match((error as Error).message, /give that one, or a wider one/);
    },
    { loops: false },
  ));

test.run();
