// Keeps the installed disk of a host whose profile says `install: disk`: writes the first image once the host is ready, the next one before
// it is told to reboot, and makes the slot that it booted the good one. What it did, and why it did not, goes to the machine's timeline.
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { BootCode } from "#api/boot-codes.ts";
import type { HostTarget, InstallImage } from "#api/host-agents.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import type { BootEventLog } from "../boot-events.ts";
import { ROOT_IMAGE } from "../image-peer.ts";
import type { Disk } from "../state-disk/disk.ts";
import type { DiskOwner } from "../state-disk/mark.ts";
import { readOutcome } from "../state-disk/outcome.ts";
import { readDisks } from "../state-disk/probe.ts";
import { type BootedFrom, readBoot, runs, seedFor } from "./booted.ts";
import { fetchImage } from "./fetch.ts";
import { layoutOn } from "./installed.ts";
import { afterReady, isFallback, type Slot, type SlotState } from "./slots.ts";
import {
  type BootFiles,
  bootFilesIn,
  finishInstall,
  installDisk,
  installedState,
  readState,
  type Target,
  updateDisk,
  writeState,
} from "./write.ts";

export interface Installs {
  setTarget(target: Pick<HostTarget, "install">): void;
  /** This boot's host is ready: it follows its target and Docker works. */
  ready(): void;
  /** The image that it is to boot lies in the other slot when this resolves, or it boots from the network. */
  beforeReboot(signal: AbortSignal): Promise<void>;
}

export interface InstallsOptions {
  owner: () => DiskOwner;
  /** The machine's name, for people. */
  name: string;
  stateDir: string;
  /** What `hostd disk` did. */
  runDir: string;
  events: Pick<BootEventLog, "add">;
  onEvent: () => void;
  log: Log;
  signal: AbortSignal;
  /** Other places, for tests. */
  places?: Partial<InstallPlaces>;
}

export interface InstallPlaces {
  cmdline: string;
  rootImage: string;
  bootFiles: string;
  /** Where cloud-init keeps the seed of this boot. */
  seeds: readonly string[];
  read: (signal: AbortSignal) => Promise<Disk[]>;
}

const PLACES: InstallPlaces = {
  cmdline: "/proc/cmdline",
  rootImage: ROOT_IMAGE,
  bootFiles: "/usr/lib/flynn/boot",
  seeds: ["/run/flynn-seed/user-data", "/var/lib/cloud/instance/user-data.txt"],
  read: (signal) => readDisks(() => [], signal),
};

const named = (slot: Slot): string => `slot ${slot.toUpperCase()}`;

export function openInstalls(options: InstallsOptions): Installs {
  const { owner, name, stateDir, runDir, events, onEvent, log, signal } = options;
  const places = { ...PLACES, ...options.places };
  let wanted: InstallImage | undefined;
  let isReady = false;
  /** One after the other. */
  let working: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = working.then(work);
    working = turn.catch(() => undefined);
    return turn;
  };
  const tell = (stage: "install" | "fallback", level: "info" | "warning", message: string, code?: BootCode): void => {
    log.info({ stage, message }, "installed disk");
    events.add(stage, level, message, { key: `${stage}:${message}`.slice(0, 120), ...(code ? { code } : {}) });
    onEvent();
  };
  const directory = join(stateDir, "install");

  async function bootedFrom(): Promise<BootedFrom> {
    return readBoot(await readFile(places.cmdline, "utf8"));
  }

  async function target(until: AbortSignal): Promise<Target | undefined> {
    for (const disk of await places.read(until)) {
      const layout = await layoutOn(disk, owner());
      if (layout === undefined) continue;
      return { path: disk.path, sizeBytes: disk.sizeBytes, layout, directory, signal: until };
    }
    return undefined;
  }

  async function content(image: InstallImage, booted: BootedFrom, until: AbortSignal) {
    const { server } = booted;
    if (server === undefined) throw new Error("its kernel was not told which boot server it came from");
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const rootImage = runs(booted, image) ? places.rootImage : undefined;
    const files = await fetchImage({ image, server, rootImage, directory, signal: until });
    return { image, files, server, seed: await seedFor(name, places.seeds) };
  }

  /** What the boot that is ready says of the slots. */
  async function settle(on: Target, slot: Slot): Promise<void> {
    const state = await readState(on);
    const next = afterReady(state, slot);
    if (JSON.stringify(next) !== JSON.stringify(state)) await writeState(on, next);
    const of = (one: Slot): string => `${named(one)}${state.images[one] ? ` with image ${state.images[one]}` : ""}`;
    if (isFallback(state, slot))
      tell(
        "fallback",
        "warning",
        `${of(state.trying!)} was started again and again and its host was never ready; ${of(slot)} is booted again by itself`,
        "slot-fell-back",
      );
    else if (state.trying === slot) tell("install", "info", `${of(slot)} is ready and is booted from now on`);
    else if (state.trying === undefined && slot !== state.good)
      tell(
        "fallback",
        "warning",
        `${of(state.good)} could not be booted; ${of(slot)} was booted by itself and is booted from now on`,
        "slot-fell-back",
      );
  }

  async function first(on: Target, image: InstallImage, booted: BootedFrom): Promise<void> {
    const boot: BootFiles = await bootFilesIn(places.bootFiles);
    await installDisk({ ...on, ...(await content(image, booted, on.signal)), boot });
    tell(
      "install",
      "info",
      `installed to disk ${on.path}, slot A: image ${image.id}; it boots from it without a network`,
    );
  }

  /** Of a disk that booted this host, its installation is at its end, or was cut off at its last write. */
  async function finish(on: Target): Promise<void> {
    if (await finishInstall(on, () => bootFilesIn(places.bootFiles)))
      tell("install", "info", `the installation to disk ${on.path}, which was cut off, is finished`);
  }

  async function begin(): Promise<void> {
    const booted = await bootedFrom();
    const { slot } = booted;
    const on = await target(signal);
    const disk = await readOutcome(runDir);
    // Its identity would be lost with its memory, and a boot from disk brings no other.
    if (on === undefined || disk?.did === "ram") {
      const why = disk?.reason ?? "no disk was divided for it";
      if (wanted !== undefined) tell("install", "warning", `not installed to disk: ${why}`, "install-refused");
      return;
    }
    try {
      if (slot !== undefined) {
        await settle(on, slot);
        await finish(on);
      } else if (wanted !== undefined && (await installedState(on)) === undefined) await first(on, wanted, booted);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async function update(until: AbortSignal): Promise<void> {
    const image = wanted;
    const on = image && (await target(until));
    if (image === undefined || on === undefined) return;
    const booted = await bootedFrom();
    const { slot } = booted;
    if (slot !== undefined) await finish(on);
    const state: SlotState | undefined = await installedState(on);
    if (state === undefined) return;
    if (state.images[state.good] === image.id && (slot === undefined || slot === state.good)) return;
    try {
      const { trying } = await updateDisk({ ...on, ...(await content(image, booted, until)) });
      tell(
        "install",
        "info",
        `image ${image.id} is written to ${named(trying!)} of ${on.path}; the next boot tries it`,
      );
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  const failed = (what: string, error: unknown): void => {
    if (signal.aborted) return;
    log.error({ err: error }, "installed disk");
    tell("install", "warning", `${what}: ${causeChain(error).join(": ")}`.slice(0, 380), "install-failed");
  };
  const start = (): void => {
    if (!isReady) return;
    inTurn(begin).catch((error: unknown) => failed("not installed to disk", error));
  };

  return {
    setTarget({ install }) {
      const isNew = wanted === undefined && install !== undefined;
      wanted = install;
      if (isNew) start();
    },
    ready() {
      if (isReady) return;
      isReady = true;
      start();
    },
    beforeReboot: (until) =>
      inTurn(() =>
        update(until).catch((error: unknown) => {
          failed("the image that it is to boot could not be written to its disk", error);
          throw error;
        }),
      ),
  };
}
