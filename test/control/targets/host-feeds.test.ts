// Whom a record wakes, and what it costs: one host's change builds one host's target, and no host misses one.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { HostTarget, HostTargetPart } from "#api/host-agents.ts";
import type { Job } from "#api/jobs.ts";
import { sleep, until } from "#lib/time.ts";
import { hostInputs } from "../../../control/host-inputs.ts";
import { keys } from "../../../control/keys.ts";
import type { HostRecord } from "../../../control/records.ts";
import type { Change, Store } from "../../../control/store/store.ts";
import { type HostFeeds, hostFeeds } from "../../../control/targets/host-feeds.ts";
import { hostParts } from "../../../control/targets/host-parts.ts";
import { type Turns, turns } from "../../../control/targets/turns.ts";
import { wholeTarget } from "../../../hostd/target-parts.ts";
import { type Rig, withRig } from "../rig.ts";

const HOSTS = ["h1", "h2", "h3", "h4"];
const APPS = ["a", "b", "c"];

const host = (id: string, over: Partial<HostRecord> = {}): Change => ({
  key: keys.host(id),
  value: {
    id,
    name: id,
    state: "ready",
    reason: "",
    cordoned: false,
    subnet: `100.64.${id.slice(1)}.0/24`,
    address: `10.1.0.${id.slice(1)}`,
    capacity: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
    tags: {},
    keySha256: "",
    joinedAt: "",
    ...over,
  } satisfies HostRecord,
});
const app = (id: string): Change[] => [
  { key: keys.artifact(`art-${id}`), value: { id: `art-${id}`, appId: id, repository: id, digest: `sha256:${id}` } },
  ...["r1", "r2"].map((release) => ({
    key: keys.release(id, release),
    value: { id: release, appId: id, artifactId: `art-${id}`, env: { A: release }, processes: { web: { port: 80 } } },
  })),
];
const job = (id: string, appId: string, hostId: string | undefined, over: Partial<Job> = {}): Change => ({
  key: keys.job(appId, id),
  value: {
    id,
    appId,
    app: appId,
    releaseId: "r1",
    version: 1,
    process: "web",
    desired: "run",
    state: "up",
    reason: "",
    restarts: 0,
    need: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1 },
    ...(hostId ? { hostId } : {}),
    ...over,
  },
});

interface Followed {
  feeds: HostFeeds;
  store: Store;
  built: string[];
  sent: Map<string, HostTarget[]>;
  /** Commits and waits until nothing of it is under way. */
  commit(...mutations: Change[]): Promise<void>;
}

/** The product's own turns, and whether any is still to come. */
function watchedTurns(): { queue: Turns; isIdle: () => boolean } {
  const inner = turns();
  const coming = new Map<() => void, () => void>();
  const seen = (turn: () => void) => () => {
    coming.delete(turn);
    turn();
  };
  const queue: Turns = {
    ask(turn, everywhere) {
      if (!coming.has(turn)) coming.set(turn, seen(turn));
      inner.ask(coming.get(turn)!, everywhere);
    },
    restMs: () => 0,
    forget(turn) {
      const wrapped = coming.get(turn);
      coming.delete(turn);
      if (wrapped !== undefined) inner.forget(wrapped);
    },
  };
  return { queue, isIdle: () => coming.size === 0 };
}

/** The targets of a host's stream; `inParts`: as the host puts them together of what it is sent. */
async function* targetsOf(feeds: HostFeeds, id: string, signal: AbortSignal, inParts: boolean) {
  if (!inParts) for await (const { data } of feeds.follow(id, signal)) if (data) yield data;
  let whole: HostTarget | undefined;
  if (inParts)
    for await (const { data } of hostParts().inParts(feeds.followChanges(id, signal))) {
      if (data === undefined) continue;
      whole = wholeTarget(JSON.parse(JSON.stringify(data)), whole);
      assert.ok(whole, "a part of what the host was sent before");
      yield whole;
    }
}

async function following(
  hostIds: readonly string[],
  body: (followed: Followed) => Promise<void>,
  { inParts = false } = {},
): Promise<void> {
  await withRig(
    async ({ control, store }: Rig) => {
      const { context } = control;
      await store.commit({ actor: "test", mutations: [...HOSTS.flatMap((id) => host(id)), ...APPS.flatMap(app)] });
      const built: string[] = [];
      const { queue, isIdle } = watchedTurns();
      const feeds = hostFeeds(context, hostInputs(context), { queue, onBuild: (hostId) => built.push(hostId) });
      // The rig's own listener has taken the record into the index already: what was there before is kept here.
      const known = new Map<string, Job>();
      store.onDurable((record) => {
        const changes = record.mutations.flatMap(({ key, value }) => {
          if (!key.startsWith("jobs/")) return [];
          const [before, after] = [known.get(key), (value as unknown as Job | null) ?? undefined];
          if (after) known.set(key, after);
          else known.delete(key);
          return [{ ...(before ? { before } : {}), ...(after ? { after } : {}) }];
        });
        feeds.apply(record, changes);
      });
      const done = new AbortController();
      const sent = new Map<string, HostTarget[]>(hostIds.map((id) => [id, []]));
      const reading = hostIds.map(async (id) => {
        for await (const target of targetsOf(feeds, id, done.signal, inParts)) sent.get(id)!.push(target);
      });
      const quiet = async () => {
        await until(isIdle, { what: "every turn that was asked for", timeoutMs: 10_000, everyMs: 1 });
        // Timers of one length end in their order: after these, every stream has gone on from what it sent.
        for (let turn = 0; turn < 3; turn++) await sleep(0);
      };
      await until(() => [...sent.values()].every(({ length }) => length > 0), { what: "targets", timeoutMs: 10_000 });
      try {
        await body({
          feeds,
          store,
          built,
          sent,
          async commit(...mutations) {
            await store.commit({ actor: "test", mutations });
            await quiet();
          },
        });
      } finally {
        done.abort();
      }
      await Promise.all(reading);
    },
    { loops: false },
  );
}

test("a job's counter, state and address build no target of its host; its end builds one, of one host", () =>
  following(HOSTS, async ({ built, commit }) => {
    const after = async (...mutations: Change[]) => {
      built.length = 0;
      await commit(...mutations);
      return built.join(" ");
    };
    assert.is(await after(job("j1", "a", "h1", { state: "starting" })), "h1");
    assert.is(await after(job("j2", "b", "h2", { state: "starting" })), "h2");
    assert.is(await after(job("j1", "a", "h1", { state: "up" })), "");
    assert.is(await after(job("j1", "a", "h1", { restarts: 7, reason: "exited 1" })), "");
    assert.is(await after(job("j1", "a", "h1", { desired: "drain" })), "", "a host runs on what drains");
    assert.is(await after(job("j1", "a", "h1", { desired: "stop" })), "h1");
    assert.is(await after(job("j1", "a", "h1", { desired: "stop", state: "down" })), "h1");
    assert.is(await after(job("j2", "b", "h3")), "h2 h3");
    assert.is(await after(job("j3", "c", undefined)), "", "it waits for a host");
    assert.is(await after({ key: keys.event(1), value: {} }), "");
  }));

test("what a host reports of itself builds its own target at most; another address is told to all, its tags to nobody else", () =>
  following(HOSTS, async ({ built, commit, sent }) => {
    const after = async (...mutations: Change[]) => {
      built.length = 0;
      await commit(...mutations);
      return [...built].sort().join(" ");
    };
    assert.is(await after(host("h1", { state: "unhealthy", reason: "no engine" })), "");
    assert.is(await after(host("h1", { capacity: { cpuMillis: 2, memoryBytes: 2, diskBytes: 2 } })), "");
    assert.is(await after(host("h1", { tags: { disk: "ssd" } })), "h1");
    assert.is(await after(host("h1", { address: "10.1.0.99", tags: { disk: "ssd" } })), "h1 h2 h3 h4");
    for (const targets of sent.values())
      assert.is(targets.at(-1)!.peers.find(({ hostId }) => hostId === "h1")?.address, "10.1.0.99");
  }));

test("a host that is removed has its stream ended, in words", () =>
  following(["h1"], async ({ commit, feeds }) => {
    const ended = (async () => {
      for await (const _ of feeds.follow("h4", AbortSignal.timeout(10_000)));
    })().catch((error: Error) => error.message);
    await commit({ key: keys.host("h4"), value: null });
    assert.match(String(await ended), /host h4 was removed/);
  }));

const anyRecords =
  (start: number) =>
  async ({ store, feeds, sent, commit }: Followed): Promise<void> => {
    let seed = start;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    const one = <T>(list: readonly T[]): T => list[random(list.length)]!;
    const change = (): Change[] => {
      const appId = one(APPS);
      const id = `${appId}${random(4)}`;
      return one<() => Change[]>([
        () => [
          job(id, appId, one([...HOSTS, undefined]), {
            state: one(["pending", "starting", "up", "crashed", "down", "lost"]),
            desired: one(["run", "drain", "stop"]),
            restarts: random(3),
            releaseId: one(["r1", "r2"]),
            ...(random(2) === 0 ? {} : { address: `100.64.1.${random(9)}` }),
          }),
        ],
        () => [{ key: keys.job(appId, id), value: null }],
        () => [
          host(one(HOSTS), {
            address: `10.1.0.${random(3)}`,
            tags: one<Record<string, string>>([{}, { build: "yes" }]),
          }),
        ],
        () => [{ key: keys.stack, value: { name: `s${random(3)}`, builder: image(random(2)), runner: image(1) } }],
        () => {
          const kind = one(["run", "release"] as const); // a job's never changes
          return [
            job(`${kind}-${appId}`, appId, one(HOSTS), {
              task: { kind, attach: false, tty: false, createdBy: "test" },
              ...(random(2) === 0 ? {} : { startedAt: "2026-01-01T00:00:00Z" }),
            }),
          ];
        },
      ])();
    };
    const image = (n: number) => ({ repository: "stack", digest: `sha256:${n}` });
    for (let n = 0; n < 24; n++) {
      // Some at once: what comes while a stream works is not missed.
      await Promise.all(Array.from({ length: random(4) }, () => store.commit({ actor: "test", mutations: change() })));
      if (n % 4 === 3) await commit(...change());
    }
    await commit(...change());
    for (const [hostId, targets] of sent) {
      const fresh = JSON.parse(JSON.stringify(feeds.targetOf(hostId))) as HostTarget;
      assert.equal(asHeld(hostId, JSON.parse(JSON.stringify(targets.at(-1)))), asHeld(hostId, fresh), hostId);
    }
  };

/** No host is its own peer, and in which order the others come is nothing to it. */
const asHeld = (hostId: string, { seq: _, peers, ...target }: HostTarget) => ({
  ...target,
  peers: peers.filter((peer) => peer.hostId !== hostId).sort((a, b) => (a.hostId < b.hostId ? -1 : 1)),
});

test("after any records every host was sent what a fresh look gives, whatever came at once", () =>
  following(HOSTS, anyRecords(11)));

for (const seed of [11, 12, 13])
  test(`a host that takes changes only holds what a fresh look gives, whatever came at once (${seed})`, () =>
    following(HOSTS, anyRecords(seed), { inParts: true }));

test("a change of one job is sent as one, however many run on the host", () =>
  withRig(
    async ({ control, store }: Rig) => {
      const many = Array.from({ length: 60 }, (_, n) => job(`a${n}`, "a", "h1", { address: `100.64.1.${n + 2}` }));
      await store.commit({
        actor: "test",
        mutations: [...HOSTS.map((id) => host(id)), ...app("a"), ...app("b"), ...many],
      });
      const feeds = hostFeeds(control.context, hostInputs(control.context));
      store.onDurable((record) => feeds.apply(record, [{ after: record.mutations[0]!.value as unknown as Job }]));
      const done = new AbortController();
      const parts = hostParts().inParts(feeds.followChanges("h1", done.signal));
      const next = async (): Promise<HostTargetPart> => {
        for (;;) {
          const { value } = await parts.next();
          if (value?.data !== undefined) return value.data;
        }
      };
      try {
        assert.is((await next()).jobs?.length, 60);
        const [, second] = await Promise.all([
          store.commit({ actor: "test", mutations: [job("b1", "b", "h1", { address: "100.64.1.200" })] }),
          next(),
        ]);
        const { jobChanges, appChanges }: HostTargetPart = second;
        assert.equal(
          jobChanges?.put.map(({ id }) => id),
          ["b1"],
        );
        assert.equal(
          appChanges?.put.map(({ appId }) => appId),
          ["b"],
        );
        for (const list of [second.jobs, second.reach?.apps, second.peers]) assert.is(list, undefined);
      } finally {
        done.abort();
        await parts.return(undefined);
      }
    },
    { loops: false },
  ));

test.run();
