// A boot plane whose machines are on another network than ours: nobody there has a card that we see, so that only ISOs open it.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BootMachine } from "#api/boot.ts";
import { silentLog } from "#lib/log.ts";
import { createBootPlane } from "../../../bootstrap/http/boot-plane.ts";
import { createInventoryRoom } from "../../../bootstrap/http/inventory.ts";
import { type BootHttpServer, bootHttpServer } from "../../../bootstrap/http/server.ts";
import { createMachines } from "../../../bootstrap/identity/machines.ts";
import { createSight } from "../../../bootstrap/identity/sight.ts";
import { createTokens } from "../../../bootstrap/identity/tokens.ts";
import { openImages } from "../../../bootstrap/images.ts";
import { createInventories } from "../../../bootstrap/inventories.ts";
import { type MediaRoom, openMediaRoom } from "../../../bootstrap/media/room.ts";
import type { Happening } from "../../../bootstrap/timeline.ts";
import { freePort } from "../../lib/free-port.ts";
import { bootTarget, type ImageFixture, writeImage } from "../image-fixture.ts";

export interface MediaPlane extends AsyncDisposable {
  room: MediaRoom;
  port: number;
  base: string;
  fixture: ImageFixture;
  events: Happening[];
  clock: { nowMs: number };
  /** The boot server dies and starts again, with what is on its disk. */
  restart(): Promise<void>;
}

export interface MediaPlaneOptions {
  machines: BootMachine[];
  /** What machines reach it by; its own port on loopback unless given. */
  base?: string;
  /** For UEFI, by name; none unless given. */
  bootFiles?: ReadonlyMap<string, Buffer>;
  lifeMs?: number;
}

export async function mediaPlane({ machines, base: given, bootFiles = new Map(), lifeMs }: MediaPlaneOptions) {
  const root = await mkdtemp(join(tmpdir(), "flynn-media-"));
  const fixture = await writeImage(root);
  const images = openImages({ directory: fixture.imagesDir, publicKeyFile: fixture.keyFile, log: silentLog() });
  await images.scan();
  const known = createMachines();
  known.setTarget(bootTarget(machines, fixture.manifest));
  const port = await freePort();
  const base = given ?? `http://127.0.0.1:${port}`;
  const events: Happening[] = [];
  const timeline = { record: (event: Happening) => void events.push(event) };
  const clock = { nowMs: 1_000 };
  const log = silentLog();
  let parts: { room: MediaRoom; server: BootHttpServer };
  const start = async () => {
    const room = await openMediaRoom({
      ...{ base, stateDir: root, ipxeDir: "/usr/lib/ipxe", bootFiles, key: Buffer.alloc(32, 5), log },
      nowMs: () => clock.nowMs,
      ...(lifeMs === undefined ? {} : { lifeMs }),
    });
    const sight = createSight({
      network: { address: "10.99.0.0", prefix: 24 },
      relays: [],
      neighbours: () => undefined,
      vouchedFor: room.cardAt,
    });
    const inventories = createInventories({ log });
    const inventory = createInventoryRoom({
      ...{ base, key: Buffer.alloc(32, 7), machines: known, sight, timeline, inventories },
    });
    const plane = createBootPlane({
      ...{ base, machines: known, images, timeline, sight, inventory, media: room },
      tokens: createTokens({ save: async () => undefined }),
      grant: (boot) => `fjg_${boot.bootId}`,
      rootFrom: async () => ({ from: "us" }),
      ran: () => undefined,
    });
    const server = await bootHttpServer({
      ...{ address: "127.0.0.1", port, plane, inventory, images, bootFiles, media: room, log },
      admits: (ip) => sight.admits(ip) || (room.isOpen(ip) && !sight.isRefused(ip)),
    });
    parts = { room, server };
  };
  const stop = async () => {
    await parts.server.close();
    await parts.room.close();
  };
  await start();
  const made: MediaPlane = {
    get room() {
      return parts.room;
    },
    ...{ port, base, fixture, events, clock },
    async restart() {
      await stop();
      await start();
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(root, { recursive: true, force: true });
    },
  };
  return made;
}
