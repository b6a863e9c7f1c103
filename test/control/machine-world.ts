// Machines that boot from a fake boot server of a real control: each step as the boot server and the agent tell it.
import * as boot from "#api/boot.ts";
import * as agents from "#api/host-agents.ts";
import type { JobReport } from "#api/jobs.ts";
import { approveMachine, type Machine, type Stage } from "#api/machines.ts";
import type { Hello } from "#api/version.ts";
import { ownHello } from "#api/version.ts";
import { every, sleep } from "#lib/time.ts";
import { newKeyPem } from "#lib/x509.ts";
import { keys } from "../../control/keys.ts";
import { factsOf, type Member, type Rig } from "./rig.ts";

export interface World {
  server: Member;
  /** What the boot server is told now. */
  target(): Promise<boot.BootTarget>;
  image(id: string, current?: boolean): Promise<void>;
  tell(mac: string, stage: Stage, over?: Partial<boot.BootEvent>): Promise<void>;
  /** Seen, and approved. */
  approved(n: number): Promise<Machine>;
  /** One that boots whatever it is given, again and again, until the test ends. */
  machine(n: number, how?: { keepsIdentity?: boolean }): Promise<FakeMachine>;
  stop(): Promise<void>;
}

/** What becomes of a boot of an image. */
export type Fate = "ready" | "refuses" | "hangs" | "jobs crash";

export interface FakeMachine {
  id: string;
  mac: string;
  /** Of boots to come. */
  fates: Map<string, Fate>;
  /** Images it booted, in their order. */
  booted: string[];
  /** Orders to reboot that it obeyed. */
  obeyed: string[];
  /** Off, and on again: whatever it was at. */
  powerCycle(): void;
  /** It has no power until `plugIn`. */
  unplug(): void;
  plugIn(): void;
}

export const macOf = (n: number) => `52:54:00:00:00:${n.toString(16).padStart(2, "0")}`;
export const bootIdOf = (n: number) => `boot-${String(n).padStart(6, "0")}`;
const POWER_ON_TEST_MS = 5_500;
let events = 0;
let boots = 0;

export async function world(rig: Rig): Promise<World> {
  const key = newKeyPem();
  let server = await rig.join("boot", { key });
  const ended = new AbortController();
  const running: Promise<void>[] = [];
  const it: World = {
    server,
    target: () => server.client.call(boot.bootTarget, { params: { id: server.id } }),
    async image(id, current = false) {
      const file = { sha256: "1".repeat(64), sizeBytes: 1 };
      const value: Omit<boot.BootImage, "current"> = {
        ...{ id, name: id, architecture: "amd64", cmdline: [], memoryNeedBytes: 1 },
        ...{ kernel: file, initrd: file, squashfs: file },
        createdAt: "2026-01-01T00:00:00.000Z",
      };
      const now = { key: keys.currentBootImage("amd64"), value: id };
      const mutations = [{ key: keys.bootImage(id), value }, ...(current ? [now] : [])];
      await rig.store.commit({ actor: "test", mutations });
    },
    async tell(mac, stage, over = {}) {
      const event: boot.BootEvent = {
        eventId: `e${++events}`,
        at: new Date(1_767_225_600_000 + events * 1_000).toISOString(),
        claimed: { mac },
        observed: { card: mac },
        stage,
        level: "info",
        message: stage,
        ...over,
      };
      await server.client.call(boot.postBootEvents, { params: { id: server.id }, body: { events: [event] } });
    },
    async approved(n) {
      const mac = macOf(n);
      await it.tell(mac, "script", { claimed: { mac, whole: true } });
      return rig.admin.call(approveMachine, { params: { id: mac }, body: { name: `node-${n}` } });
    },
    async machine(n, { keepsIdentity = false } = {}) {
      const { id } = await it.approved(n);
      const one = fakeMachine(n, id, keepsIdentity);
      running.push(one.run(ended.signal));
      return one;
    },
    async stop() {
      ended.abort();
      await Promise.all(running);
    },
  };

  /** `keepsIdentity`: its state is on a disk, so it joins once. */
  function fakeMachine(
    n: number,
    id: string,
    keepsIdentity: boolean,
  ): FakeMachine & { run(signal: AbortSignal): Promise<void> } {
    const mac = macOf(n);
    let power = new AbortController();
    let plugged = true;
    let kept: Member | undefined;
    const one = {
      ...{ id, mac, fates: new Map<string, Fate>(), booted: [] as string[], obeyed: [] as string[] },
      powerCycle: () => power.abort(),
      unplug() {
        plugged = false;
        power.abort();
      },
      plugIn: () => {
        plugged = true;
      },
      async run(signal: AbortSignal) {
        while (!signal.aborted) {
          power = new AbortController();
          const both = AbortSignal.any([signal, power.signal]);
          // Control may be away under each of these: it tries again, as firmware does.
          if (plugged) await once(both).catch(() => undefined);
          await sleep(20, signal);
        }
      },
    };
    const once = async (signal: AbortSignal): Promise<void> => {
      const machine = (await it.target()).machines.find((each) => each.id === id);
      if (machine === undefined || machine.target !== "boot" || machine.imageId === undefined)
        return sleep(100, signal);
      // No machine is up again sooner, and control takes what it hears sooner for the boot before (control/presence.ts).
      if (kept !== undefined) await sleep(POWER_ON_TEST_MS, signal);
      const { imageId } = machine;
      const bootId = bootIdOf(++boots);
      await it.tell(mac, "script", { bootId, imageId, message: `given boot image ${imageId}` });
      await it.tell(mac, "initrd", { bootId, imageId });
      one.booted.push(imageId); // one that could not be told of, since control restarts, is no boot yet
      const fate = one.fates.get(imageId) ?? "ready";
      if (fate === "refuses") {
        const message = "its initrd refused to boot: too little memory";
        await it.tell(mac, "boot-failed", { bootId, imageId, level: "error", message, detail: { refusal: "memory" } });
        return sleep(100, signal);
      }
      if (fate === "hangs")
        return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      await agent({ bootId, n, fate, signal });
    };
    const agent = async (of: { bootId: string; n: number; fate: Fate; signal: AbortSignal }): Promise<void> => {
      const { bootId, fate, signal } = of;
      const facts = { ...factsOf(`node-${n}`, n), bootId: `kernel-${bootId}`, macs: [mac] };
      const grant = { bootServerId: server.id, machineId: id, bootId, mac, nonce: `nonce-${bootId}` };
      const token = boot.signJoinGrant({ ...grant, expiresAtMs: Date.now() + 600_000 }, key);
      const joinKey = newKeyPem();
      let member = kept;
      while (member === undefined && !signal.aborted) {
        member = await rig.join("host", { name: `node-${n}`, key: joinKey, facts, token }).catch(() => undefined);
        if (member === undefined) await sleep(100, signal);
      }
      if (member === undefined) return;
      if (keepsIdentity) kept = member;
      const hello: Hello = { ...ownHello("hostd"), capabilities: ["reboot"] };
      const client = rig.client({ identity: member, hello });
      const { id: hostId } = member;
      const down = new AbortController();
      const up = AbortSignal.any([signal, down.signal]);
      let target: agents.HostTarget | undefined;
      const addresses = new Map<string, string>();
      const addressOf = (jobId: string) => {
        const known = addresses.get(jobId) ?? target!.subnet.replace(/\d+\/\d+$/, `${(addresses.size % 250) + 2}`);
        addresses.set(jobId, known);
        return known;
      };
      const report = () => {
        const { term = 0, seq = 0, jobs = [], reach } = target ?? {};
        const body: agents.HostReport = {
          ...{ term, seq, facts, engine: { healthy: true, version: "20.10", reason: "" } },
          jobs: jobs.map((job): JobReport => {
            const stopped = job.desired === "stop";
            const crash = fate === "jobs crash" && !stopped;
            return {
              id: job.id,
              state: stopped ? "down" : crash ? "crashed" : "up",
              reason: crash ? "exit code 139" : "",
              restarts: crash ? 3 : 0,
              address: addressOf(job.id),
            };
          }),
          ...(reach === undefined ? {} : { reachVersion: reach.version }),
        };
        return client.call(agents.reportHost, { params: { id: hostId }, body }).catch(() => undefined);
      };
      const follow = async () => {
        for await (const { data } of client.follow(agents.hostTarget, { params: { id: hostId }, signal: up })) {
          if (!data || !("jobs" in data)) continue;
          target = data as agents.HostTarget;
          if (target.reboot?.bootId !== facts.bootId) continue;
          one.obeyed.push(target.reboot.orderId);
          down.abort();
        }
      };
      const beat = async () => {
        for await (const _ of every(100, up)) await report();
      };
      await Promise.all([follow(), beat()]);
      client.close();
    };
    return one;
  }

  const restart = rig.restart;
  rig.restart = async () => {
    await restart();
    const { certificate } = server;
    server = { ...server, client: rig.client({ identity: { key, certificate } }) };
    it.server = server;
  };
  return it;
}
