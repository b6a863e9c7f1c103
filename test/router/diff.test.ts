import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { assign } from "../../router/assign.ts";
import { type Assignment, backendName, type Slot, slotName } from "../../router/assignment.ts";
import { diff, fitTo, newAddresses } from "../../router/diff.ts";
import { MAP_NAMES, type Maps, mapFile, noMaps } from "../../router/maps.ts";
import { PARKED } from "../../router/render.ts";
import { atOnce } from "../../router/slices.ts";
import type { Running, RunningSlot } from "../../router/verify.ts";
import { target } from "./rig.ts";

const options = { directory: "/d", reachable: new Set<string>() };
const parked = (): RunningSlot => ({ ...PARKED, mode: "maint", weight: 1, isUp: false });
const at = (port: number, mode: RunningSlot["mode"] = "ready"): RunningSlot => ({
  address: "127.0.0.1",
  port,
  mode,
  weight: 1,
  isUp: true,
});
const running = (...slots: RunningSlot[]): Running => ({
  slots: new Map(slots.map((slot, s) => [`be_0001/${slotName(s)}`, slot])),
  maps: noMaps(),
  certificates: new Map(),
});
const withRoutes = (routes: Map<string, string>) => ({ ...noMaps(), routes });
const wanted = (...slots: (Slot | null)[]) => ({
  assignment: { backends: [{ slots }] },
  maps: noMaps(),
});
const slot = (port: number, state: Slot["state"] = "up"): Slot => ({
  jobId: `j${port}`,
  address: "127.0.0.1",
  port,
  state,
});
const only = (now: RunningSlot, want: Slot | null, reachable: string[] = []) =>
  diff(running(now), wanted(want), { ...options, reachable: new Set(reachable) }).commands.flat();

test("a slot is given an address only in maintenance, and opened in the same line", () => {
  const { commands } = diff(running(parked()), wanted(slot(80)), options);
  assert.equal(commands, [
    [
      "set server be_0001/s1 state maint",
      "set server be_0001/s1 addr 127.0.0.1 port 80",
      "set server be_0001/s1 state ready",
      "set server be_0001/s1 health down",
    ],
  ]);
});

test("a job known to accept connections is up at once, another waits for HAProxy's check", () => {
  assert.is(only(parked(), slot(80), ["127.0.0.1:80"]).at(-1), "set server be_0001/s1 health up");
  assert.is(only(parked(), slot(80), ["127.0.0.1:81"]).at(-1), "set server be_0001/s1 health down");
  assert.equal(atOnce(newAddresses(running(parked(), at(81)), wanted(slot(80), slot(81)).assignment)), [
    { address: "127.0.0.1", port: 80 },
  ]);
});

for (const [name, now, want, commands] of [
  ["equal", at(80), slot(80), []],
  ["drains", at(80), slot(80, "drain"), ["set server be_0001/s1 state drain"]],
  ["leaves", at(80), slot(80, "leaving"), ["set server be_0001/s1 state drain"]],
  ["already drains", at(80, "drain"), slot(80, "leaving"), []],
  ["drains since a reload", at(80, "maint"), slot(80, "drain"), []],
  ["left", at(80, "drain"), null, ["set server be_0001/s1 state maint", "set server be_0001/s1 addr 127.0.0.1 port 1"]],
  ["free", parked(), null, []],
  ["opened by hand", { ...parked(), mode: "ready" }, null, ["set server be_0001/s1 state maint"]],
  [
    "drained by hand",
    at(80, "drain"),
    slot(80),
    ["set server be_0001/s1 state ready", "set server be_0001/s1 health down"],
  ],
  [
    "without weight",
    { ...at(80), weight: 0 },
    slot(80),
    ["set server be_0001/s1 weight 1", "set server be_0001/s1 state ready", "set server be_0001/s1 health down"],
  ],
] as const)
  test(`a slot that is ${name} gets ${commands.length} commands`, () => assert.equal(only(now, want), [...commands]));

test("capacity is added before the maps change, and taken away after", () => {
  const now = running(at(80), parked());
  now.maps.routes = new Map([
    ["old.test/", "be_0001"],
    ["moved.test/", "be_0009"],
  ]);
  const want = {
    ...wanted(slot(80, "drain"), slot(81)),
    maps: withRoutes(
      new Map([
        ["new.test/", "be_0001"],
        ["moved.test/", "be_0001"],
      ]),
    ),
  };
  const order = diff(now, want, options).commands.map((group) => group[0]);
  assert.equal(order, [
    "set server be_0001/s2 state maint",
    "add map /d/routes.map new.test/ be_0001",
    "set map /d/routes.map moved.test/ be_0001",
    "del map /d/routes.map old.test/",
    "set server be_0001/s1 state drain",
  ]);
});

test("slots that do not exist need a reload, and no route leads to a backend that does not", () => {
  const { commands, reload } = diff(
    running(),
    { ...wanted(slot(80)), maps: withRoutes(new Map([["a.test/", "be_0001"]])) },
    options,
  );
  assert.is(reload, "all");
  assert.equal(commands, []);
});

test("a canary whose backend waits for a reload takes nothing from its route", () => {
  const change = (now: Running, value: string) =>
    diff(
      { ...now, maps: withRoutes(new Map([["a.test/", "be_0001:r:60"]])) },
      { ...wanted(), maps: withRoutes(new Map([["a.test/", value]])) },
      options,
    ).commands;
  assert.equal(change(running(parked()), "be_0001:r:60:5:be_0002"), []);
  assert.equal(change(running(parked()), "be_0001:r:60:5:be_0002:s.1.0"), [
    ["set map /d/routes.map a.test/ be_0001:r:60:::s.1.0"],
  ]);
  assert.equal(change(running(parked()), "be_0001:-::5:be_0002"), [["set map /d/routes.map a.test/ be_0001"]]);
  const both = running(parked());
  both.slots.set("be_0002/s1", parked());
  assert.equal(change(both, "be_0001:r:60:5:be_0002"), [["set map /d/routes.map a.test/ be_0001:r:60:5:be_0002"]]);
});

test("a key that is in a map twice is made one", () => {
  const now = { ...running(parked()), maps: withRoutes(new Map([["a.test/", "\0twice"]])) };
  assert.equal(diff(now, { ...wanted(null), maps: withRoutes(new Map([["a.test/", "be_0001"]])) }, options).commands, [
    ["del map /d/routes.map a.test/", "add map /d/routes.map a.test/ be_0001"],
  ]);
});

/** What HAProxy does with the commands, as its manual says. */
function apply(now: Running, commands: string[]): Running {
  const maps = Object.fromEntries(MAP_NAMES.map((name) => [name, new Map(now.maps[name])])) as Maps;
  const next: Running = { slots: new Map(now.slots), maps, certificates: new Map() };
  for (const command of commands) {
    const [verb, kind, name, ...rest] = command.split(" ");
    if (kind === "map") {
      const map = maps[MAP_NAMES.find((each) => name === `/d/${mapFile(each)}`)!];
      if (verb === "del") map.delete(rest[0]!);
      else map.set(rest[0]!, rest.slice(1).join(" "));
      continue;
    }
    const old = next.slots.get(name!)!;
    if (rest[0] === "addr") {
      assert.is.not(old.mode, "drain", "an address changes in maintenance, or with traffic on its way to the next job");
      next.slots.set(name!, { ...old, address: rest[1]!, port: Number(rest[3]) });
    } else if (rest[0] === "state") next.slots.set(name!, { ...old, mode: rest[1] as RunningSlot["mode"] });
    else if (rest[0] === "weight") next.slots.set(name!, { ...old, weight: Number(rest[1]) });
    else if (rest[0] === "health") next.slots.set(name!, { ...old, isUp: rest[1] === "up" });
  }
  return next;
}

const anySlot = fc.option(
  fc.record({
    port: fc.integer({ min: 2, max: 9 }),
    state: fc.constantFrom("up" as const, "drain" as const, "leaving" as const),
  }),
);
const anyRunning = fc.record({
  port: fc.integer({ min: 1, max: 9 }),
  mode: fc.constantFrom("ready" as const, "drain" as const, "maint" as const),
  weight: fc.integer({ min: 0, max: 1 }),
});
const anyMap = fc.dictionary(
  fc.constantFrom("a.test/", "b.test/x/", "*.c.test/"),
  fc.constantFrom("be_0001", "be_0002"),
);

test("whatever runs, the commands make it what is wanted: a second comparison finds nothing", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(anySlot, anyRunning), { minLength: 1, maxLength: 6 }),
      anyMap,
      anyMap,
      (slots, mapNow, mapWanted) => {
        const now = running(...slots.map(([, { port, mode, weight }]) => ({ ...at(port, mode), weight })));
        now.maps.routes = new Map(Object.entries(mapNow));
        const want = {
          assignment: {
            backends: [
              { pool: { id: "p", app: "p" }, slots: slots.map(([want]) => want && slot(want.port, want.state)) },
            ],
          },
          maps: withRoutes(new Map(Object.entries(mapWanted))),
        };
        const after = apply(now, diff(now, want, options).commands.flat());
        assert.equal(diff(after, want, options).commands, []);
        for (const [s, [want]] of slots.entries()) {
          const got = after.slots.get(`be_0001/${slotName(s)}`)!;
          assert.is(got.mode === "ready", want?.state === "up");
          assert.is(got.port, want?.port ?? PARKED.port);
        }
        const served = [...want.maps.routes].filter(([, backend]) => backend === "be_0001");
        assert.equal(new Map([...after.maps.routes].sort()), new Map(served.sort()));
      },
    ),
  );
});

test("an older worker gets a pool's jobs in the slots it has when it has none of theirs", () => {
  const old = running(at(80));
  const want = wanted(slot(80, "drain"), slot(81), null);
  const fitted = fitTo(old, want);
  assert.equal(fitted.assignment.backends[0]!.slots, [slot(81)]);
  assert.equal(diff(old, fitted, { ...options, reachable: new Set(["127.0.0.1:81"]) }).commands, [
    [
      "set server be_0001/s1 addr 127.0.0.1 port 81",
      "set server be_0001/s1 state ready",
      "set server be_0001/s1 health up",
    ],
  ]);
  const enough = wanted(slot(80), slot(81));
  assert.equal(fitTo(old, enough).assignment.backends[0]!.slots, [slot(80)], "and is left alone when it has one");
});

test("an untouched pool gets no command when another changes", () => {
  const empty: Assignment = { backends: [] };
  const idle = { isBusy: () => false, backends: 2, slots: 2 };
  const quiet = { app: "quiet", routes: ["q.test"], jobs: [{ port: 1001 }] };
  const first = assign(empty, target(1, [quiet]), idle);
  const now: Running = {
    slots: new Map(
      first.assignment.backends.flatMap(({ slots }, b) =>
        slots.map((each, s): [string, RunningSlot] => [
          `${backendName(b)}/${slotName(s)}`,
          each ? at(each.port) : parked(),
        ]),
      ),
    ),
    maps: first.maps,
    certificates: new Map(),
  };
  const second = assign(
    first.assignment,
    target(2, [{ app: "busy", routes: ["b.test"], jobs: [{ port: 1002 }] }, quiet]),
    idle,
  );
  const commands = diff(now, second, options).commands.flat();
  assert.ok(commands.length > 0);
  assert.not.ok(commands.some((command) => command.includes("be_0001") || command.includes("q.test")));
});

test.run();
