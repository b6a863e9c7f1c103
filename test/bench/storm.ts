// A thousand machines switched on at once, and how long until the last has its image: a model in its own time of wires that are shared
// evenly, with the real rules of who loads from where (bootstrap/root-sources, root-peers). What it leaves out: packets, disks, luck.
import { run as runProgram } from "#lib/run.ts";
import type { BootRecord } from "../../bootstrap/identity/tokens.ts";
import { rootPeers } from "../../bootstrap/root-peers.ts";
import { type RootSource, rootSources } from "../../bootstrap/root-sources.ts";
import type { BenchOptions, BenchResult } from "./run.ts";

export const name = "storm";

/** Bytes a second of 1 Gbit/s with TCP's and Ethernet's own. */
const WIRE = 117e6;
/** As `flynn image build` makes them: kernel and initrd are always ours to give, the root image a host's too. */
const BOOT_BYTES = 45e6;
const ROOT_BYTES = 260e6;
/** From power to the script, and from the root image to a host that serves it on. */
const FIRMWARE_MS = 20_000;
const START_MS = 40_000;
/** Machines of a rack are not switched on in one instant. */
const SPREAD_MS = 5_000;
/** What a script that waits sleeps. */
const RETRY_MS = 5_000;
const STEP_MS = 250;
const HOURS_MOST = 12;

type Phase = "off" | "boot" | "root" | "starting" | "ready";

interface Machine {
  mac: string;
  address: string;
  phase: Phase;
  /** When what it waits for is over. */
  untilMs: number;
  leftBytes: number;
  source: RootSource | undefined;
}

interface Rules {
  take(mac: string): Promise<RootSource>;
  done(mac: string): void;
}

export interface Storm {
  lastReadyMs: number;
  medianReadyMs: number;
  /** Root images that our own wire carried. */
  fromUs: number;
}

export async function storm(
  count: number,
  makeRules: (world: { nowMs: () => number; boots: () => BootRecord[] }) => Rules,
): Promise<Storm> {
  let nowMs = 0;
  const boots: BootRecord[] = [];
  const rules = makeRules({ nowMs: () => nowMs, boots: () => boots });
  const machines = Array.from({ length: count }, (_, n): Machine => {
    const untilMs = FIRMWARE_MS + (SPREAD_MS * n) / count;
    return { mac: `${n}`, address: `h${n}`, phase: "off", untilMs, leftBytes: 0, source: undefined };
  });
  const readyMs: number[] = [];
  let fromUs = 0;
  for (; readyMs.length < count; nowMs += STEP_MS) {
    if (nowMs > HOURS_MOST * 3_600_000) throw new Error(`${readyMs.length} of ${count} machines ready after hours`);
    const loads = new Map<string, number>();
    for (const each of machines) {
      const wire = wireOf(each);
      if (wire !== undefined) loads.set(wire, (loads.get(wire) ?? 0) + 1);
    }
    for (const each of machines) {
      const wire = wireOf(each);
      if (wire !== undefined) {
        each.leftBytes -= (WIRE / loads.get(wire)!) * (STEP_MS / 1_000);
        if (each.leftBytes > 0) continue;
        if (each.phase === "boot") Object.assign(each, { phase: "root", leftBytes: ROOT_BYTES });
        else {
          rules.done(each.mac);
          if (each.source?.from === "us") fromUs++;
          Object.assign(each, { phase: "starting", untilMs: nowMs + START_MS });
        }
      } else if (each.phase === "starting" && nowMs >= each.untilMs) {
        each.phase = "ready";
        readyMs.push(nowMs);
        boots.push(bootOf(each));
      } else if (each.phase === "off" && nowMs >= each.untilMs) {
        each.source = await rules.take(each.mac);
        if (each.source.from === "nowhere") each.untilMs = nowMs + RETRY_MS;
        else Object.assign(each, { phase: "boot", leftBytes: BOOT_BYTES });
      }
    }
  }
  return { lastReadyMs: readyMs.at(-1)!, medianReadyMs: readyMs[count >> 1]!, fromUs };
}

const wireOf = ({ phase, source }: Machine): string | undefined =>
  phase === "boot" || (phase === "root" && source?.from === "us")
    ? "us"
    : phase === "root" && source?.from === "peer"
      ? source.address
      : undefined;

const bootOf = ({ mac, address }: Machine): BootRecord => ({
  bootId: mac,
  machineId: mac,
  imageId: "img",
  mac,
  address,
  hardware: mac,
  tokenHash: "",
  mintedAtMs: 0,
  uses: {},
  joined: true,
});

/** Everybody from us and at once. */
const alone = (): Rules => ({ take: async () => ({ from: "us" }), done: () => undefined });

const shared = ({ nowMs, boots }: { nowMs: () => number; boots: () => BootRecord[] }): Rules => {
  const sources = rootSources({ nowMs });
  const peers = rootPeers({ boots, squashfsOf: () => "sha", probe: async () => true, nowMs });
  return {
    take: async (mac) => sources.take(mac, await peers.of("sha", "")),
    done: sources.done,
  };
};

export async function run({
  quick = false,
  log = () => undefined,
  signal,
}: Partial<BenchOptions> = {}): Promise<BenchResult> {
  const minutes = (ms: number) => Math.round(ms / 6_000) / 10;
  const figures: Record<string, number> = {};
  const ratios: Record<string, number> = {};
  for (const count of quick ? [20] : [40, 200, 1_000]) {
    signal?.throwIfAborted();
    const [one, many] = [await storm(count, alone), await storm(count, shared)];
    Object.assign(figures, {
      [`alone${count}Minutes`]: minutes(one.lastReadyMs),
      [`shared${count}Minutes`]: minutes(many.lastReadyMs),
      [`shared${count}MedianMinutes`]: minutes(many.medianReadyMs),
      [`shared${count}FromUs`]: many.fromUs,
    });
    ratios[`alone${count}`] = Math.round((one.lastReadyMs / many.lastReadyMs) * 100) / 100;
    log(
      `${count} machines: ${minutes(one.lastReadyMs)} minutes from one server, ${minutes(many.lastReadyMs)} with peers`,
    );
  }
  return {
    figures,
    ratios,
    notes: ["a model: every wire carries 1 Gbit/s; kernel and initrd come from the one server"],
  };
}

if (import.meta.main) {
  runProgram(async (signal) => {
    console.log(JSON.stringify(await run({ signal, log: (line) => console.error(line) }), undefined, 2));
    return 0;
  });
}
