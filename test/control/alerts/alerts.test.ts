// time limit: 120 s
// Alerts of a whole control: hosts that fall silent, a restart, a store that takes no writes, a rule that throws.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Alert, getAlert, listAlerts } from "#api/alerts.ts";
import { isFault } from "#api/fault.ts";
import { deleteHost } from "#api/hosts.ts";
import { getStatus, listEvents } from "#api/status.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { createAlerts } from "../../../control/alerts/alerts.ts";
import { alertBook, CLEARED_KEPT } from "../../../control/alerts/book.ts";
import type { AlertView } from "../../../control/alerts/rule.ts";
import { ALERT_RULES } from "../../../control/alerts/rules.ts";
import { restartedJobs } from "../../../control/alerts/view.ts";
import { keys, PREFIX } from "../../../control/keys.ts";
import type { Store } from "../../../control/store/store.ts";
import { type Rig, withRig } from "../rig.ts";
import { AT, host, job, well } from "./view.ts";

/** Lost hosts alone: the disk of a busy machine may be slow as well. */
const activeOf = async ({ admin }: Rig): Promise<Alert[]> =>
  (await admin.call(listAlerts)).items.filter(({ kind }) => kind === "host-lost");

test("a host that falls silent is one alert, in the list, the status and the events, through a restart, until it is back", () =>
  withRig(
    async (rig) => {
      const silent = await rig.host("node-1");
      await silent.report();
      const alert = await until(async () => (await activeOf(rig))[0], { what: "the alert", timeoutMs: 20_000 });
      assert.equal([alert.kind, alert.subject.name, alert.severity], ["host-lost", "node-1", "critical"]);
      assert.equal(await rig.admin.call(getAlert, { params: { id: alert.id } }), alert);
      const { alerts } = await rig.admin.call(getStatus);
      assert.equal([alerts?.critical, alerts?.newest[0]], [1, alert]);

      await rig.restart();
      assert.equal(await activeOf(rig), [alert]);
      await rig.admin.call(deleteHost, { params: { id: silent.id } });
      await until(async () => (await activeOf(rig)).length === 0, { what: "its end", timeoutMs: 20_000 });
      const { items: over } = await rig.admin.call(listAlerts, { query: { state: "cleared" } });
      assert.ok(over.find(({ id }) => id === alert.id)!.clearedAt! > alert.since);
      const events = (await rig.admin.call(listEvents, { query: { type: "alert" } })).items.reverse();
      assert.equal(
        events.filter(({ subject }) => subject === alert.id).map(({ type, subject }) => [type, subject]),
        [
          ["alert.raised", alert.id],
          ["alert.cleared", alert.id],
        ],
      );
      assert.match(
        events.find(({ subject }) => subject === alert.id)!.message,
        /host node-1 is lost; see: flynn host show node-1/,
      );
    },
    { hostLostAfterMs: 1_000 },
  ));

/** Alerts of a quiet control on a clock that the test moves, looking at the views it is given. */
function alertsOf({ control, store }: Rig, over: { store?: Store; rules?: typeof ALERT_RULES } = {}) {
  let clockMs = 0;
  const alerts = createAlerts(
    { ...control.context, store: over.store ?? store },
    {
      monotonicMs: () => clockMs,
      rules: over.rules ?? ALERT_RULES,
      sources: {
        brake: () => well().brake,
        registryProblem: async () => undefined,
        snapshotProblem: () => undefined,
        failingLoops: () => [],
        failingApps: () => [],
        ownCertificates: () => [],
        routing: () => ({ term: 1, generation: 1 }),
      },
    },
  );
  store.onDurable(alerts.apply);
  return {
    alerts,
    look(view: Partial<AlertView>, times = 1) {
      for (let n = 0; n < times; n++) {
        clockMs += 2_000;
        alerts.look(well(view));
      }
    },
  };
}
const lostHost = { hosts: [host({ state: "lost", reason: "silent for 10 s" })] };
const kinds = (alerts: readonly Alert[]) => alerts.map(({ kind }) => kind).sort();

test("a rule that throws harms its own kind only, and nothing of it that stands is taken for over", () =>
  withRig(
    async (rig) => {
      let broken = false;
      const rules = ALERT_RULES.map((rule) =>
        rule.kind !== "disk-low"
          ? rule
          : {
              ...rule,
              wanted: (view: AlertView) => {
                if (broken) throw new Error("a bug");
                return rule.wanted(view);
              },
            },
      );
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.host("h-1"), value: host() }] });
      const { alerts, look } = alertsOf(rig, { rules });
      look({ disk: { ...well().disk!, low: true } }, 10);
      broken = true;
      look(lostHost, 100);
      assert.equal(kinds(alerts.active()), ["disk-low", "host-lost"]);
      broken = false;
      look(lostHost, 20);
      assert.equal(kinds(alerts.active()), ["host-lost"]);
    },
    { loops: false },
  ));

test("while the store takes no writes an alert stands all the same, and is written once it does", () =>
  withRig(
    async (rig) => {
      let full = true;
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.host("h-1"), value: host() }] });
      const store: Store = new Proxy(rig.store, {
        get: (target, name) =>
          name === "commit" && full
            ? async () => Promise.reject(new Error("no space left on device"))
            : Reflect.get(target, name),
      });
      const { alerts, look } = alertsOf(rig, { store });
      look(lostHost, 3);
      assert.equal(kinds(alerts.active()), ["host-lost"]);
      assert.is(rig.store.count(PREFIX.alerts), 0);
      full = false;
      await until(
        () => {
          look(lostHost);
          return rig.store.count(PREFIX.alerts) === 1;
        },
        { what: "the alert in the store", timeoutMs: 5_000, everyMs: 10 },
      );
      const events = rig.store.list<{ type: string }>(PREFIX.events).map(({ value }) => value.type);
      assert.is(events.filter((type) => type === "alert.raised").length, 1);
      const again = alertsOf(rig);
      again.look(lostHost, 10);
      assert.equal(
        again.alerts.active().map(({ id }) => id),
        alerts.active().map(({ id }) => id),
      );
    },
    { loops: false },
  ));

test("a pause of control clears nothing", () =>
  withRig(
    async (rig) => {
      let clockMs = 0;
      await rig.store.commit({ actor: "test", mutations: [{ key: keys.host("h-1"), value: host() }] });
      const { context } = rig.control;
      const sources = {
        brake: () => well().brake,
        registryProblem: async () => undefined,
        snapshotProblem: () => undefined,
        failingLoops: () => [],
        failingApps: () => [],
        ownCertificates: () => [],
        routing: () => ({ term: 1, generation: 1 }),
      };
      const alerts = createAlerts(context, { monotonicMs: () => clockMs, sources });
      alerts.look(well(lostHost));
      alerts.look(well());
      clockMs += 3_600_000;
      alerts.look(well());
      assert.equal(kinds(alerts.active()), ["host-lost"]);
    },
    { loops: false },
  ));

test("of those that are over the newest are kept, in memory and in the store", () =>
  withRig(
    async ({ store }) => {
      const book = alertBook({ store, log: silentLog(), now: () => new Date() });
      const words = {
        kind: "brake" as const,
        severity: "critical" as const,
        what: "x",
        why: "y",
        next: "flynn host list",
      };
      const subject = { kind: "cluster" as const, id: "cluster", name: "cluster" };
      for (let n = 0; n < CLEARED_KEPT + 50; n++) {
        const at = new Date(Date.parse(AT) + n * 1_000).toISOString();
        const alert = { id: `alert-${String(n).padStart(5, "0")}`, subject, ...words, since: at };
        book.take({ raised: [alert], reworded: [], cleared: [] });
        book.take({ raised: [], reworded: [], cleared: [{ ...alert, clearedAt: at }] });
      }
      await book.write();
      assert.is(book.list().length, CLEARED_KEPT);
      assert.is(book.list()[0]!.id, `alert-${String(CLEARED_KEPT + 49).padStart(5, "0")}`);
      assert.is(store.count(PREFIX.alerts), CLEARED_KEPT);
    },
    { loops: false },
  ));

test("jobs that were started again are followed from the records, and only those that live", () =>
  withRig(
    async ({ store }) => {
      const put = (id: string, over: object | null) => ({
        key: keys.job("a-1", id),
        value: over === null ? null : job({ id, ...over }),
      });
      await store.commit({ actor: "test", mutations: [put("j-1", {}), put("j-2", { restarts: 0 })] });
      const jobs = restartedJobs(store);
      const ids = () => jobs.list().map(({ id }) => id);
      assert.equal(ids(), ["j-1"]);
      jobs.apply({ mutations: [put("j-2", { restarts: 1 }), put("j-1", { state: "down" })] as never });
      assert.equal(ids(), ["j-2"]);
      jobs.apply({ mutations: [put("j-2", null)] as never });
      assert.equal(ids(), []);
    },
    { loops: false },
  ));

test("an alert that is not there is not found, and pages give each one once", () =>
  withRig(
    async (rig) => {
      const hosts = Array.from({ length: 7 }, (_, n) => host({ id: `h-${n}`, name: `node-${n}`, state: "lost" }));
      for (const each of hosts)
        await rig.store.commit({ actor: "test", mutations: [{ key: keys.host(each.id), value: each }] });
      const { alerts, look } = alertsOf(rig);
      look({ hosts }, 2);
      await until(() => rig.store.count(PREFIX.alerts) === 7, { what: "seven alerts", timeoutMs: 5_000 });
      await rig.restart();
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await rig.admin.call(listAlerts, { query: { limit: 3, ...(cursor ? { cursor } : {}) } });
        seen.push(...page.items.map(({ id }) => id));
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      assert.equal(
        seen,
        alerts.list().map(({ id }) => id),
      );
      const missing = await rig.admin.call(getAlert, { params: { id: "alert-none" } }).catch((error: unknown) => error);
      assert.ok(isFault(missing, "not-found"));
    },
    { loops: false },
  ));

test.run();
