// time limit: 120 s
// Hosts over the API: what their reports change, what happens when they fall silent and come back, and that no stream is left behind.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listDeployments } from "#api/deployments.ts";
import { isFault } from "#api/fault.ts";
import * as agents from "#api/host-agents.ts";
import * as hosts from "#api/hosts.ts";
import { getJob, listJobs } from "#api/jobs.ts";
import * as members from "#api/members.ts";
import { createService } from "#api/services.ts";
import { getStatus, listEvents } from "#api/status.ts";
import { deadline, until } from "#lib/time.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { HostRecord } from "../../../control/records.ts";
import { type Rig, withRig } from "../rig.ts";

const up = async (rig: Rig) =>
  (await rig.admin.call(listJobs, { params: { app: "hello" } })).items.filter(({ state }) => state === "up");
const stateOf = (rig: Rig, id: string) => rig.store.get<HostRecord>(keys.host(id))?.value.state;

test("a host that falls silent is lost and its jobs run elsewhere; when it is back its extra copies are not in its target", () =>
  withRig(
    async (rig) => {
      const fleet = [await rig.host(), await rig.host(), await rig.host(), await rig.host()];
      for (const host of fleet) host.start();
      await rig.admin.call(createService, { body: { name: "hello", image: "x", count: 4 } });
      await until(async () => (await up(rig)).length === 4, { what: "4 jobs up", timeoutMs: 10_000 });
      const [dead] = fleet;
      const had = dead!.target!.jobs.map(({ id }) => id);
      assert.is(had.length, 1);
      await dead!.stop();
      await until(() => stateOf(rig, dead!.id) === "lost", { what: "host lost", timeoutMs: 30_000 });
      await until(async () => (await up(rig)).length === 4, { what: "replaced", timeoutMs: 10_000 });
      assert.not((await up(rig)).some(({ hostId }) => hostId === dead!.id));
      const status = await rig.admin.call(getStatus);
      assert.match(status.parts.find(({ name }) => name === "hosts")!.message, /3 of 4 ready; h1 lost/);
      // It still has the old copy and says so: the report changes nothing, and the target does not have it.
      await dead!.report();
      dead!.start();
      await until(() => stateOf(rig, dead!.id) === "ready", { what: "host back", timeoutMs: 30_000 });
      await until(() => dead!.target!.jobs.every(({ id }) => !had.includes(id)), {
        what: "the copy to be gone",
        timeoutMs: 30_000,
      });
      assert.is((await up(rig)).length, 4);
      const types = (await rig.admin.call(listEvents, { query: { limit: 1000 } })).items.map(({ type }) => type);
      for (const type of ["host.lost", "host.returned"]) assert.ok(types.includes(type), type);
    },
    { hostLostAfterMs: 2_000 },
  ));

test("jobs show the memory their host last saw in use, which is written nowhere", () =>
  withRig(async (rig) => {
    const host = await rig.host();
    host.start();
    await rig.admin.call(createService, { body: { name: "hello", image: "x", count: 2 } });
    await until(async () => (await up(rig)).length === 2, { what: "jobs up", timeoutMs: 10_000 });
    const deployed = async () => {
      const { items } = await rig.admin.call(listDeployments, { params: { app: "hello" } });
      return items.every(({ state }) => state === "complete");
    };
    await until(deployed, { what: "the end of the deployment, which writes", timeoutMs: 30_000 });
    const [one, other] = await up(rig);
    assert.is(one!.memoryBytes, undefined);
    const seq = rig.store.seq;
    host.states.set(one!.id, { memoryBytes: 5_000 });
    const seen = () => rig.admin.call(getJob, { params: { id: one!.id } });
    await until(async () => (await seen()).memoryBytes === 5_000, { what: "its memory", timeoutMs: 30_000 });
    const listed = new Map((await up(rig)).map(({ id, memoryBytes }) => [id, memoryBytes]));
    assert.equal([listed.get(one!.id), listed.get(other!.id)], [5_000, undefined]);
    assert.is(rig.store.seq, seq);
  }));

test("a restart of control declares nobody dead and moves nothing", () =>
  withRig(
    async (rig) => {
      const fleet = [await rig.host(), await rig.host()];
      for (const host of fleet) host.start();
      await rig.admin.call(createService, { body: { name: "hello", image: "x", count: 2 } });
      await until(async () => (await up(rig)).length === 2, { what: "jobs up", timeoutMs: 10_000 });
      const before = (await up(rig)).map(({ id, hostId }) => [id, hostId]);
      const seqBefore = rig.store.seq;
      await rig.restart();
      await until(() => rig.control.context.presence.hosts.size === 2, { what: "both heard", timeoutMs: 10_000 });
      assert.equal(
        (await up(rig)).map(({ id, hostId }) => [id, hostId]),
        before,
      );
      assert.ok(rig.store.seq >= seqBefore);
      const lost = (await rig.admin.call(listEvents, { query: { type: "host.lost" } })).items;
      assert.equal(lost, []);
    },
    { hostLostAfterMs: 2_000 },
  ));

test("a frame that says nothing new writes nothing", () =>
  withRig(async (rig) => {
    const host = await rig.host();
    await host.report();
    await until(() => stateOf(rig, host.id) === "ready", { what: "ready", timeoutMs: 30_000 });
    await host.report();
    const { seq } = rig.store;
    for (let n = 0; n < 20; n++) await host.report();
    assert.is(rig.store.seq, seq);
  }));

test("a report that has seen a later term is refused: this control is an old one", () =>
  withRig(
    async (rig) => {
      const host = await rig.host();
      const error = await host.report({ term: rig.store.term + 1 }).catch((cause: unknown) => cause);
      assert.ok(isFault(error, "conflict"));
      assert.is(stateOf(rig, host.id), "joining");
    },
    { loops: false },
  ));

test("reports at the same time as other changes are all taken in, however long their reasons are", () =>
  withRig(async (rig) => {
    const host = await rig.host();
    host.start();
    await rig.admin.call(createService, { body: { name: "hello", image: "x", count: 5 } });
    await until(async () => (await up(rig)).length === 5, { what: "up", timeoutMs: 10_000 });
    const work: Promise<unknown>[] = [];
    for (let n = 0; n < 30; n++) {
      const jobs = host.target!.jobs.map(({ id }) => ({
        id,
        state: "unhealthy" as const,
        reason: `${n}${"\u0000é".repeat(2000)}`,
        restarts: n,
        address: "100.64.1.9",
      }));
      work.push(host.report({ jobs }), rig.admin.call(hosts.cordonHost, { params: { id: host.id }, body: {} }));
    }
    for (const result of await Promise.allSettled(work)) assert.is(result.status, "fulfilled", JSON.stringify(result));
  }));

test("no listener and no stream is left when readers go, and none keeps the server from closing", () =>
  withRig(
    async (rig) => {
      const host = await rig.host();
      await host.report();
      const { store, reaches } = rig.control.context;
      let listening = 0;
      /** As the function, but what it adds counts until it is stopped. */
      const counted =
        <Args extends unknown[]>(subscribe: (...args: Args) => () => void) =>
        (...args: Args) => {
          listening++;
          const stop = subscribe(...args);
          return () => {
            listening--;
            stop();
          };
        };
      Object.assign(store, { onDurable: counted(store.onDurable) });
      Object.assign(reaches, { onChange: counted(reaches.onChange) });
      const gone = new AbortController();
      const streams = Array.from({ length: 30 }, async (_, n) => {
        const client = n % 2 ? host.client : rig.admin;
        const stream =
          n % 2
            ? client.stream(agents.hostTarget, { params: { id: host.id }, signal: gone.signal })
            : client.stream(listEvents, { signal: gone.signal });
        for await (const _item of stream);
      });
      await until(() => listening === 30, { what: "all to listen", timeoutMs: 30_000 });
      gone.abort();
      await Promise.allSettled(streams);
      await until(() => listening === 0, { what: "all to be gone", timeoutMs: 30_000 });
      const last = rig.admin.stream(listEvents);
      await last.next();
      await deadline(rig.control.app.close(), 20_000, "closing with a stream open");
      await last.next().catch(() => undefined);
      await until(() => listening === 0, { what: "the last to be gone", timeoutMs: 30_000 });
    },
    { loops: false },
  ));

test("events resume where a reader left off, and say when that is too long ago", () =>
  withRig(
    async (rig) => {
      for (let n = 0; n < 5; n++) await rig.admin.call(members.createJoinToken, { body: { role: "host" } });
      const items = (await rig.admin.call(listEvents)).items.reverse();
      assert.is(items.length, 5);
      const seen: number[] = [];
      for await (const { event, data } of rig.admin.stream(listEvents, { lastEventId: String(items[2]!.seq) })) {
        if (event === "current") break;
        if (data) seen.push(data.seq);
      }
      assert.equal(
        seen,
        items.slice(3).map(({ seq }) => seq),
      );
      await rig.store.commit({
        actor: "test",
        mutations: items.slice(0, 3).map(({ seq }) => ({ key: keys.event(seq), value: null })),
      });
      const error = await rig.admin
        .stream(listEvents, { lastEventId: String(items[0]!.seq) })
        .next()
        .catch((cause: unknown) => cause);
      assert.ok(isFault(error, "gone"), String(error));
      assert.is(rig.store.count(PREFIX.events), 2);
    },
    { loops: false },
  ));

test.run();
