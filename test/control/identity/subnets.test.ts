// What hosts get of the cluster's range, when one is removed, when there are none left, and when the range is made wider.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { deleteHost, drainHost, getHost, listHosts } from "#api/hosts.ts";
import { listJobs } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { until } from "#lib/time.ts";
import {
  checkHostNet,
  freeSubnet,
  isInSubnet,
  isWider,
  jobAddresses,
  largerSubnets,
  newSubnet,
  type RestingSubnet,
  SUBNET_REST_MS,
  withResting,
} from "../../../control/identity/subnets.ts";
import { keys } from "../../../control/keys.ts";
import type { ClusterSettings } from "../../../control/records.ts";
import { type Rig, withRig } from "../rig.ts";

const AT = Date.parse("2026-06-01T00:00:00Z");
const ago = (ms: number): RestingSubnet => ({ subnet: "10.0.1.0/24", freedAt: new Date(AT - ms).toISOString() });

test("the subnet of a removed host is nobody's for an hour, and then anybody's", () => {
  const next = (ms: number, taken: string[] = []) =>
    freeSubnet("10.0.0.0/22", 24, { taken, resting: [ago(ms)], nowMs: AT });
  assert.is(next(0), "10.0.2.0/24");
  assert.is(next(SUBNET_REST_MS - 1), "10.0.2.0/24");
  assert.is(next(SUBNET_REST_MS), "10.0.1.0/24");
});

test("where none is left it is said what is taken, what frees itself, and what to do", () => {
  const taken = ["10.0.2.0/24", "10.0.3.0/24"];
  try {
    freeSubnet("10.0.0.0/22", 24, { taken, resting: [ago(60_000)], nowMs: AT });
    assert.unreachable();
  } catch (error) {
    assert.ok(isFault(error, "no-capacity"));
    assert.match(
      error.message,
      /^10\.0\.0\.0\/22 has no room for a \/24: 2 hosts have subnets, and 1 that a host gave back rests for an hour\. .*--cluster-range 10\.0\.0\.0\/20$/,
    );
  }
});

test("what has rested is forgotten, and a subnet rests once", () => {
  const nowMs = AT;
  const mine = { subnet: "10.0.2.0/24", freedAt: new Date(nowMs).toISOString() };
  assert.equal(withResting([ago(SUBNET_REST_MS)], mine, nowMs), [mine]);
  assert.equal(withResting([ago(5)], mine, nowMs), [ago(5), mine]);
  assert.equal(withResting([{ ...mine, freedAt: "2026-05-31T23:59:00Z" }], mine, nowMs), [mine]);
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

test("sizes are mixed without overlap: each begins at a multiple of its size, gaps are used, the first /24 is nobody's", () => {
  const range = "10.0.0.0/20";
  const next = (prefix: number, ...taken: string[]) => freeSubnet(range, prefix, { taken });
  assert.is(next(22), "10.0.4.0/22");
  assert.is(next(24, "10.0.4.0/22"), "10.0.1.0/24");
  assert.is(next(26, "10.0.1.0/24"), "10.0.2.0/26");
  assert.is(next(23, "10.0.1.0/24", "10.0.2.0/26"), "10.0.4.0/23");
  assert.is(next(24, "10.0.1.0/24", "10.0.2.0/26", "10.0.3.0/24"), "10.0.4.0/24");
  assert.is(next(22, "10.0.5.128/26", "10.0.8.0/24"), "10.0.12.0/22");
});

const HOUR = 3_600_000;
const spanOf = (subnet: string) => {
  const [base = "", bits] = subnet.split("/");
  const first = base.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return { first, end: first + 2 ** (32 - Number(bits)) };
};

test("whatever hosts take, give back and grow to: in range, aligned, apart from all that is held or rests, and only refused when full", () => {
  const prefix = fc.integer({ min: 22, max: 26 });
  const step = fc.oneof(
    fc.record({ do: fc.constant("take" as const), prefix }),
    fc.record({ do: fc.constant("grow" as const), prefix, at: fc.nat(99) }),
    fc.record({ do: fc.constant("give back" as const), at: fc.nat(99) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.constantFrom(1, HOUR / 2, HOUR) }),
  );
  const ranges = fc.constantFrom("10.0.0.0/23", "100.64.0.0/21", "172.16.32.0/20", "192.168.128.0/19");
  fc.assert(
    fc.property(ranges, fc.array(step, { maxLength: 80 }), (range, steps) => {
      let nowMs = AT;
      const taken: string[] = [];
      let resting: RestingSubnet[] = [];
      const whole = spanOf(range);
      const apart = (subnet: string) => {
        const { first, end } = spanOf(subnet);
        assert.ok(first >= whole.first + 256 && end <= whole.end, `${subnet} in ${range}`);
        assert.is(first % (end - first), 0, subnet);
        const asleep = resting.filter(({ freedAt }) => nowMs - Date.parse(freedAt) < HOUR);
        for (const other of [...taken, ...asleep.map((each) => each.subnet)])
          assert.ok(end <= spanOf(other).first || spanOf(other).end <= first, `${subnet} and ${other}`);
      };
      const hasRoom = (bits: number) => {
        for (let first = whole.first; first < whole.end; first += 2 ** (32 - bits)) {
          const text = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256).join(".");
          try {
            apart(`${text}/${bits}`);
            return true;
          } catch {
            // held
          }
        }
        return false;
      };
      for (const each of steps) {
        if (each.do === "wait") nowMs += each.ms;
        else if (each.do === "take") {
          try {
            const subnet = newSubnet(range, each.prefix, { taken, resting, nowMs });
            apart(subnet);
            const wanted = Number(subnet.split("/")[1]);
            assert.ok(
              wanted === each.prefix || !hasRoom(each.prefix),
              "smaller only where the size asked for has no room",
            );
            taken.push(subnet);
          } catch (error) {
            if (!isFault(error, "no-capacity")) throw error;
            assert.not(hasRoom(Math.max(each.prefix, 24)), error.message);
          }
        } else if (taken.length > 0) {
          const at = each.at % taken.length;
          const held = taken[at]!;
          const larger =
            each.do === "grow" ? largerSubnets(range, each.prefix, { taken, resting, nowMs }).next().value : undefined;
          if (each.do === "grow" && larger === undefined) continue;
          if (larger !== undefined) apart(larger);
          taken.splice(at, 1);
          resting = withResting(resting, { subnet: held, freedAt: new Date(nowMs).toISOString() }, nowMs);
          if (larger !== undefined) taken.push(larger);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("several hosts that grow at once get subnets apart from each other", () => {
  const free = largerSubnets("10.0.0.0/20", 22, { taken: ["10.0.1.0/24", "10.0.9.0/24"] });
  assert.equal([free.next().value, free.next().value, free.next().value], ["10.0.4.0/22", "10.0.12.0/22", undefined]);
});

test("which addresses are a host's own follows from the size of its subnet", () => {
  assert.equal(["10.0.0.0/22", "10.0.0.0/24", "10.0.0.0/26"].map(jobAddresses), [1021, 253, 61]);
  for (const [subnet, address, isIn] of [
    ["10.0.4.0/22", "10.0.7.254", true],
    ["10.0.4.0/22", "10.0.8.1", false],
    ["10.0.1.64/26", "10.0.1.63", false],
    ["10.0.1.64/26", "10.0.1.127", true],
    ["10.0.1.0/24", "10.0.11.7", false],
    ["10.0.1.0/24", "2001:db8::1", false],
    ["10.0.1.0/24", "", false],
  ] as const)
    assert.is(isInSubnet(subnet, address), isIn, `${address} of ${subnet}`);
});

test("a size that fits into the range nowhere is refused in words", () => {
  for (const [range, hostNet] of [
    ["10.0.0.0/21", 22],
    ["10.0.0.0/23", 24],
  ] as const)
    checkHostNet(range, hostNet);
  assert.throws(() => checkHostNet("10.0.0.0/22", 22), /no room for one \/22 .*clusterRange, such as 10\.0\.0\.0\/20/);
  const full = { taken: ["10.0.4.0/24"] };
  assert.throws(
    () => freeSubnet("10.0.0.0/21", 22, full),
    /^10\.0\.0\.0\/21 has no room for a \/22: 1 hosts? .*--cluster-range 10\.0\.0\.0\/19, or take smaller subnets, such as --host-net 23$/,
  );
});

const sizesOf = async (rig: Rig) =>
  Object.fromEntries((await rig.admin.call(listHosts)).items.map(({ name, subnet }) => [name, subnet] as const).sort());

test("larger subnets: new hosts get one, a host with jobs keeps its own until they are gone, and then its own rests", () =>
  withRig(async (rig) => {
    const [busy, idle] = [await rig.host("busy"), await rig.host("idle")];
    busy.start();
    await rig.admin.call(createService, { body: { name: "hello", image: "hello:1", domain: "hello.test" } });
    /** Where its one job is up. */
    const upOn = async () => {
      const { items } = await rig.admin.call(listJobs, { params: { app: "hello" }, query: { limit: 500 } });
      return items.length === 1 && items[0]!.state === "up" ? items[0]!.hostId : undefined;
    };
    await until(async () => (await upOn()) === busy.id, { what: "its job", timeoutMs: 20_000 });
    assert.equal(await sizesOf(rig), { busy: "100.64.1.0/24", idle: "100.64.2.0/24" });
    await busy.stop();
    rig.config.hostNet = 22;
    await rig.restart();
    assert.is(rig.store.get<ClusterSettings>(keys.cluster)!.value.hostNet, 22);
    const fresh = await rig.host("fresh");
    for (const host of [busy, idle, fresh]) host.start();
    const sizes = (wanted: Record<string, string>) =>
      until(async () => JSON.stringify(await sizesOf(rig)) === JSON.stringify(wanted), {
        what: `subnets ${JSON.stringify(wanted)}`,
        timeoutMs: 20_000,
      });
    await sizes({ busy: "100.64.1.0/24", fresh: "100.64.4.0/22", idle: "100.64.8.0/22" });
    const show = (id: string) => rig.admin.call(getHost, { params: { id } });
    assert.match(
      (await show(busy.id)).subnetWaits ?? "",
      /^it gets a \/22 once it has no jobs \(flynn host drain busy\)/,
    );
    assert.is((await show(fresh.id)).subnetWaits, undefined);
    await until(() => idle.target?.subnet === "100.64.8.0/22", { what: "its target", timeoutMs: 20_000 });
    const peers = () => Object.fromEntries(busy.target?.peers.map(({ hostId, subnet }) => [hostId, subnet]) ?? []);
    await until(() => peers()[idle.id] === "100.64.8.0/22", { what: "its peers' routes", timeoutMs: 20_000 });
    await rig.admin.call(drainHost, { params: { id: busy.id } });
    await sizes({ busy: "100.64.12.0/22", fresh: "100.64.4.0/22", idle: "100.64.8.0/22" });
    assert.is.not(await until(upOn, { what: "its job elsewhere", timeoutMs: 20_000 }), busy.id);
    const asleep = rig.store.get<RestingSubnet[]>(keys.restingSubnets)!.value.map(({ subnet }) => subnet);
    assert.equal(asleep.sort(), ["100.64.1.0/24", "100.64.2.0/24"]);
    rig.config.hostNet = 24; // new hosts get less again, and what is there stays
    await rig.restart();
    const last = await rig.host("last");
    assert.is((await rig.admin.call(getHost, { params: { id: last.id } })).subnet, "100.64.3.0/24", "others rest");
    assert.is((await sizesOf(rig))["busy"], "100.64.12.0/22");
    rig.config.hostNet = undefined; // as when it is not given any more
    await rig.restart();
    assert.is(rig.config.hostNet, 24);
  }));

test("a larger size that has no room is refused at the start, in words, and what was goes on", () =>
  withRig(
    async (rig) => {
      await rig.host("a");
      await rig.host("b");
      rig.config.hostNet = 22;
      const error = await rig.restart().then(
        () => undefined,
        (cause: unknown) => cause,
      );
      assert.ok(isFault(error, "invalid") || isFault(error, "no-capacity"));
      assert.match((error as Error).message, /no room for (a|one) \/22/);
      rig.config.hostNet = undefined;
      rig.config.clusterRange = "100.64.0.0/20";
      await rig.restart();
      assert.is(rig.config.hostNet, undefined);
      rig.config.hostNet = 22;
      await rig.restart();
      const c = await rig.host("c");
      assert.is((await sizesOf(rig))["c"], "100.64.4.0/22");
      await c.report({ subnetWaits: "network flynn has 10.0.0.0/24 until \u001b[2J has ended" });
      const { subnetWaits } = await rig.admin.call(getHost, { params: { id: c.id } });
      assert.is(subnetWaits, "network flynn has 10.0.0.0/24 until ?[2J has ended", "what its agent says it waits for");
    },
    { loops: false, clusterRange: "100.64.0.0/22" },
  ));

test.run();
