// After a restore: hosts are told of it once, a person is asked, and what was decided reaches the hosts.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { decideQuarantine, type Quarantine } from "#api/quarantine.ts";
import { listEvents } from "#api/status.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { hostInputs } from "../../control/host-inputs.ts";
import { keys, PREFIX } from "../../control/keys.ts";
import { noteRestored } from "../../control/restored.ts";
import { backupState, restoreState } from "../../control/store/restore.ts";
import { openStore, type Store } from "../../control/store/store.ts";
import { clusterParts } from "../../control/targets/cluster-parts.ts";
import { hostTargetOf } from "../../control/targets/host.ts";
import { withRig } from "./rig.ts";
import { inScratch } from "./store/scratch.ts";

test("a state that was restored says so once, in an event that names the commands, and again after the next restore", () =>
  inScratch(async (scratch) => {
    const directory = join(scratch, "store");
    const out = join(scratch, "backup");
    const start = () => openStore({ directory, log: silentLog() });
    const events = (store: Store) =>
      store.list<{ type: string; message: string }>(PREFIX.events).map(({ value }) => value);
    const first = await start();
    await first.commit({ actor: "test", mutations: [{ key: "apps/a", value: 1 }] });
    await noteRestored(first, new Date());
    assert.equal(events(first), []);
    await first.close();
    await backupState(directory, out);
    for (const day of ["2026-11-29", "2026-11-30"]) {
      await restoreState({ directory, from: out, replace: true, now: new Date(`${day}T10:00:00.000Z`) });
      for (let starts = 0; starts < 2; starts++) {
        const store = await start();
        await noteRestored(store, new Date());
        assert.is(store.get<Quarantine>(keys.restored)?.value.restoredAt, `${day}T10:00:00.000Z`);
        assert.equal(
          events(store).map(({ type }) => type),
          ["state.restored"],
        );
        assert.match(events(store)[0]!.message, /flynn quarantine keep.*flynn quarantine end/);
        await store.close();
      }
    }
  }));

test("a restored state holds its hosts back also while a full disk keeps that from being noted", () =>
  withRig(async ({ host, control, store }) => {
    const node = await host("node-1");
    const restored = { restoredAt: "2026-11-29T10:00:00.000Z", at: "2026-11-29T00:00:00.000Z" };
    const told = () =>
      hostTargetOf(node.id, control.context, hostInputs(control.context), clusterParts(store)).quarantine;
    assert.is(told(), undefined);
    Object.assign(store.report, { restored });
    assert.equal(told(), restored);
    const value: Quarantine = { ...restored, decision: "keep" };
    await store.commit({ actor: "test", mutations: [{ key: keys.restored, value }] });
    assert.equal(told(), value, "noted, and decided");
    Object.assign(store.report, { restored: { ...restored, restoredAt: "2026-11-30T10:00:00.000Z" } });
    assert.is(told()?.decision, undefined, "the next restore is asked about anew");
  }));

test("what a person decides reaches every host with its target; without a restore there is nothing to decide", () =>
  withRig(async (rig) => {
    const host = await rig.host("node-1");
    host.start();
    const decide = () => rig.admin.call(decideQuarantine, { body: { decision: "keep" } });
    const refused = await decide().catch((error: unknown) => error);
    assert.ok(isFault(refused, "not-found"), String(refused));
    const value: Quarantine = { restoredAt: "2026-11-29T10:00:00.000Z" };
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.restored, value }] });
    const told = (decision: string | undefined) =>
      until(() => host.target?.quarantine && host.target.quarantine.decision === decision, {
        what: "the target",
        timeoutMs: 10_000,
        everyMs: 10,
      });
    await told(undefined);
    assert.equal(await decide(), { ...value, decision: "keep" });
    await told("keep");
    const types = (await rig.admin.call(listEvents)).items.map(({ type }) => type);
    assert.ok(types.includes("quarantine.decided"));
  }));

test.run();
