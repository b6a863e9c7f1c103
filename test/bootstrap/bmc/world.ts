// A control, a boot server's hands and a machine with a BMC: what an order goes through, with each of them to be restarted at will.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BmcAccess } from "#api/bmc-work.ts";
import { postBootEvents } from "#api/boot.ts";
import type { Client } from "#api/client.ts";
import { getMachineOrder, isOver, type MachineOrder } from "#api/machine-orders.ts";
import { approveMachine, getMachine } from "#api/machines.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import type { Waits } from "../../../bootstrap/bmc/carrying.ts";
import { followBmcWork } from "../../../bootstrap/bmc/link.ts";
import type { Switch } from "../../../bootstrap/bmc/switch.ts";
import { type BmcWorker, bmcWorker } from "../../../bootstrap/bmc/worker.ts";
import type { MediaRoom } from "../../../bootstrap/media/room.ts";
import { type Member, type Rig, rig } from "../../control/rig.ts";

export const MAC = "52:54:00:00:00:01";
export const QUICK: Waits = {
  pollMs: 20,
  hardMs: 20_000,
  softMs: 1_000,
  onMs: 20_000,
  wakeMs: 10_000,
  mediaMs: 20_000,
  silentMs: 10_000,
};

export interface World extends AsyncDisposable {
  rig: Rig;
  admin: Client;
  machineId: string;
  boot: Member;
  /** When cards were heard, for Wake-on-LAN. */
  heard: Map<string, number>;
  woken: string[];
  /** Resolves when control knows that it is there. */
  startBoot(): Promise<void>;
  stopBoot(): Promise<void>;
  ended(order: MachineOrder, timeoutMs?: number): Promise<MachineOrder>;
}

export interface WorldOptions {
  open?: (bmc: BmcAccess) => Switch;
  waits?: Waits;
  /** ISOs of the machine; none are made without. */
  media?: Pick<MediaRoom, "begin">;
}

export async function world({ open, waits = QUICK, media }: WorldOptions = {}): Promise<World> {
  const control = await rig();
  const stateDir = await mkdtemp(join(tmpdir(), "flynn-bmc-"));
  const boot = await control.join("boot");
  const event = { eventId: "e1", at: new Date().toISOString(), stage: "discover" as const, level: "info" as const };
  await boot.client.call(postBootEvents, {
    params: { id: boot.id },
    body: { events: [{ ...event, claimed: { mac: MAC }, observed: {}, message: "seen" }] },
  });
  const seen = await control.admin.call(getMachine, { params: { id: MAC } });
  await control.admin.call(approveMachine, { params: { id: MAC }, body: { name: "metal" } });
  let running: { worker: BmcWorker; stop: AbortController; ended: Promise<void> } | undefined;
  const it: World = {
    rig: control,
    get admin() {
      return control.admin;
    },
    machineId: seen.id,
    boot,
    heard: new Map(),
    woken: [],
    async startBoot() {
      const stop = new AbortController();
      const worker = await bmcWorker({
        stateDir,
        log: silentLog(),
        heardAt: (mac) => it.heard.get(mac),
        wake: async (macs) => void it.woken.push(...macs),
        waits,
        media,
        ...(open === undefined ? {} : { open }),
      });
      const { signal } = stop;
      const client = control.client({ identity: boot });
      let isFollowing = false;
      const setWork: BmcWorker["setWork"] = (...work) => {
        isFollowing = true;
        worker.setWork(...work);
      };
      const ended = followBmcWork({ client, id: boot.id, worker: { setWork }, log: silentLog(), signal });
      running = { worker, stop, ended };
      await until(() => isFollowing, { what: "the boot server's first work", timeoutMs: 20_000, everyMs: 10 });
    },
    async stopBoot() {
      const was = running;
      running = undefined;
      was?.stop.abort();
      await was?.ended;
      await was?.worker.close();
    },
    ended: (order, timeoutMs = 30_000) =>
      until(
        async () => {
          const params = { id: order.machineId, order: order.id };
          const now = await control.admin.call(getMachineOrder, { params });
          return isOver(now) ? now : undefined;
        },
        { what: `the end of order ${order.id}`, timeoutMs, everyMs: 50 },
      ),
    async [Symbol.asyncDispose]() {
      await it.stopBoot();
      await control.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
  return it;
}
