// Hosts as they may be at any moment, near one another: some apps, some jobs, some of the rest.
import fc from "fast-check";
import type { Reach } from "#api/reach.ts";
import type { ReachInput } from "../../../hostd/reach/rules.ts";

const appId = fc.constantFrom("app-1", "app-2", "app-3");
const own = fc.integer({ min: 2, max: 9 }).map((n) => `100.64.7.${n}`);
const other = fc.integer({ min: 2, max: 9 }).map((n) => `100.64.8.${n}`);
const rarely = <T>(value: T, otherwise: T): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: fc.constant(value), weight: 9 }, { arbitrary: fc.constant(otherwise), weight: 1 });
const app = (id: string): fc.Arbitrary<Reach["apps"][number]> =>
  fc.record({
    appId: fc.constant(id),
    addresses: fc.uniqueArray(other, { maxLength: 3 }),
    to: fc.uniqueArray(appId, { maxLength: 2 }),
    outside: rarely([], [{ address: "10.20.0.5", port: 5432 }]),
  });
const reach: fc.Arbitrary<Reach> = fc.record({
  version: fc.integer({ min: 1, max: 99 }),
  appNetwork: rarely<Reach["appNetwork"]>("app", "cluster"),
  egress: rarely<Reach["egress"]>("internet", "none"),
  closed: rarely<string[]>([], ["10.99.0.0/24"]),
  open: fc.constant([{ address: "10.77.0.1", ports: ["443"] }]),
  routers: rarely(["10.77.0.1"], ["10.77.0.1", "10.77.0.2"]),
  apps: fc.tuple(app("app-1"), app("app-2")).map((apps) => apps),
});

export const inputs: fc.Arbitrary<ReachInput> = fc.record({
  target: reach.map((each) => ({
    subnet: "100.64.7.0/24",
    clusterRange: "100.64.0.0/16",
    registry: "10.77.0.1:5000",
    peers: [],
    reach: each,
  })),
  jobs: fc.uniqueArray(fc.record({ address: own, appId }), { selector: ({ address }) => address, maxLength: 5 }),
  jobBridge: fc.constant("flynn0"),
  buildBridges: fc.constant(["flynnb0"]),
  builds: rarely<ReachInput["builds"]>([], [{ bridge: "flynnb0", subnet: "172.30.0.0/16" }]),
  dns: fc.constant(["10.77.0.1"]),
  clusterAddresses: fc.constant(["10.77.0.1"]),
});
