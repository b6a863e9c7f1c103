// Machines that boot from a fake boot server of a real control: each step as the boot server and the agent tell it.
import * as boot from "#api/boot.ts";
import { approveMachine, getMachine, type Machine, type Stage } from "#api/machines.ts";
import { newKeyPem } from "#lib/x509.ts";
import { keys } from "../../control/keys.ts";
import { factsOf, type Member, type Rig } from "./rig.ts";

export interface World {
  server: Member & { key: string };
  /** What the boot server was told last. */
  target(): Promise<boot.BootTarget>;
  image(id: string, current?: boolean): Promise<void>;
  tell(mac: string, stage: Stage, over?: Partial<boot.BootEvent>): Promise<void>;
  /** Seen, and approved. */
  approved(n: number): Promise<Machine>;
}

export const macOf = (n: number) => `52:54:00:00:00:${n.toString(16).padStart(2, "0")}`;
let count = 0;

export async function world(rig: Rig): Promise<World> {
  const key = newKeyPem();
  const server = { ...(await rig.join("boot", { key })), key };
  const it: World = {
    server,
    target: () => server.client.call(boot.bootTarget, { params: { id: server.id } }),
    async image(id, current = false) {
      const file = { sha256: "1".repeat(64), sizeBytes: 1 };
      const value = {
        id,
        name: id,
        architecture: "amd64",
        kernel: file,
        initrd: file,
        squashfs: file,
        cmdline: [],
        memoryNeedBytes: 1,
        createdAt: "2026-01-01T00:00:00.000Z",
      };
      const now = { key: keys.currentBootImage, value: id };
      await rig.store.commit({
        actor: "test",
        mutations: [{ key: keys.bootImage(id), value }, ...(current ? [now] : [])],
      });
    },
    async tell(mac, stage, over = {}) {
      const event: boot.BootEvent = {
        eventId: `e${++count}`,
        at: new Date(1_767_225_600_000 + count * 1_000).toISOString(),
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
  };
  return it;
}

export const bootIdOf = (n: number) => `boot-${String(n).padStart(6, "0")}`;
export { factsOf, getMachine };
