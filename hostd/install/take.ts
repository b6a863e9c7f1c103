// Where the state goes on a machine whose profile says `install: disk`: the disk that its policy names is divided, if it is empty, and the
// state lives beside the boot images. A disk of ours from before stays what it is.
import { stat } from "node:fs/promises";
import type { DiskPolicy } from "#api/boot.ts";
import { causeChain } from "#lib/run.ts";
import { ROOT_IMAGE } from "../image-peer.ts";
import { chooseDisk, type Disk, isStateDisk } from "../state-disk/disk.ts";
import { readDisks } from "../state-disk/probe.ts";
import { possibleMarks, type Taken, type TakeOptions, takeDisk } from "../state-disk/take.ts";
import { divideDisk, isDividing } from "./divide.ts";
import { layoutOn, statePart } from "./installed.ts";

/** Kernel, initrd and what they need beside the root image. */
const BESIDE_ROOT_BYTES = 128 << 20;

export async function takeInstalled(options: TakeOptions): Promise<Taken> {
  const { policy, owner, order, withinMs, onProgress, onRefused, log, signal } = options;
  const given = new Set(options.givenUp);
  const read = async (): Promise<Disk[]> => {
    const found = await (options.read ?? readDisks)((disk) => possibleMarks(owner, disk, order), signal);
    return found.map((disk) => (given.has(disk.fingerprint) ? { ...disk, givenUp: true } : disk));
  };
  const refused = new Map<string, string>();
  const root = await stat(ROOT_IMAGE).catch(() => undefined);
  const imageBytes = (root?.size ?? 0) + BESIDE_ROOT_BYTES;
  const plain = () => takeDisk(options);
  for (;;) {
    const disks = await read();
    const shown = await Promise.all(
      disks.map(async (disk) => {
        const layout = disk.givenUp ? undefined : await layoutOn(disk, owner);
        return layout === undefined ? disk : statePart(disk, layout, { owner, signal });
      }),
    );
    if (disks.some((disk) => isStateDisk(disk, owner))) return plain();
    const parts = shown.filter(({ whole }) => whole !== undefined);
    if (parts.length > 1)
      return {
        choice: {
          do: "ram",
          reason: `state in RAM: ${parts.map(({ whole }) => whole!.path).join(" and ")} are both installed to by this machine (policy ${policy.name})`,
          warn: true,
          code: "disk-not-empty",
        },
        disks: shown,
        made: false,
      };
    const [part] = parts;
    if (part !== undefined) {
      const taken = await takeDisk({
        ...options,
        policy: partOf(policy, part.path),
        read: async () => [await again(part)],
      });
      return { ...taken, disks: shown };
    }
    const begun = disks.find((disk) => isDividing(disk, owner) && !refused.has(disk.path));
    const choice = chooseDisk(disks, policy, { owner, order, refused });
    const path = begun?.path ?? (choice.do === "take" && choice.begin === "verify" ? choice.path : undefined);
    // An order to take a disk, one that was begun as a state disk, or none that may be used: as without an installation.
    if (path === undefined) return choice.do === "ram" ? { choice, disks, made: false } : plain();
    const disk = disks.find((one) => one.path === path)!;
    try {
      const divided = await divideDisk({
        ...{ disk, owner, imageBytes, verify: policy.verify ?? "all", signal },
        ...(withinMs === undefined ? {} : { withinMs }),
        onProgress: (...progress) => onProgress(path, ...progress),
      });
      if (divided.end === "late")
        return { choice, disks, made: false, late: { path, sizeBytes: disk.sizeBytes, msLeft: divided.msLeft } };
      if (divided.end === "refused") refuse(path, divided.why);
      else log.info({ path, layout: divided.layout }, "the disk is divided");
    } catch (error) {
      if (signal.aborted) throw error;
      log.error({ err: error, path }, "the disk could not be divided");
      refuse(path, `could not be divided: ${causeChain(error).join(": ")}`.slice(0, 250));
    }
  }

  function refuse(path: string, why: string): void {
    refused.set(path, why);
    onRefused(path, why);
  }

  async function again({ whole }: Disk): Promise<Disk> {
    const disk = (await read()).find(({ path }) => path === whole!.path);
    const layout = disk && (await layoutOn(disk, owner));
    if (disk === undefined || layout === undefined) throw new Error(`${whole!.path} is gone`);
    return statePart(disk, layout, { owner, signal });
  }
}

/** Of the disk nothing but its table was written since all of it was read. */
const partOf = ({ name }: DiskPolicy, path: string): DiskPolicy => ({ name, mode: "named", path, verify: "ends" });
