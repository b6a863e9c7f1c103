// time limit: 120 s
// The fencing term never falls: members refuse a control whose term is below one they have seen, so whatever way state comes back, the
// next opening's term is above that of every opening before it. Ways in a table, then ways in any order.
import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { silentLog } from "#lib/log.ts";
import { openLevelLog } from "../../../control/store/log-level.ts";
import { backupState, restoreState } from "../../../control/store/restore.ts";
import { nextTerm } from "../../../control/store/term.ts";
import { inScratch } from "./scratch.ts";
import { workloadRecord } from "./workload.ts";

const logger = silentLog();

interface Place {
  scratch: string;
  directory: string;
  /** What the clock says. */
  now: () => number;
  /** Greatest term that any opening had. */
  greatest: number;
}

/** Opens, writes, and leaves the directory as a close or a power cut does. */
async function start(place: Place, { records = 0, killed = false, salvage = false } = {}): Promise<void> {
  const { directory, scratch, now } = place;
  const log = await openLevelLog({ directory, logger, now, salvage });
  try {
    assert.ok(log.term > place.greatest, `the term fell to ${log.term} from ${place.greatest}`);
    place.greatest = log.term;
    for (let n = 0; n < records; n++) await log.append([workloadRecord(log.headSeq + 1, log.term)]);
    if (killed) await cp(directory, join(scratch, "killed"), { recursive: true });
  } finally {
    await log.close();
  }
  if (!killed) return;
  await rm(directory, { recursive: true });
  await cp(join(scratch, "killed"), directory, { recursive: true });
  await rm(join(scratch, "killed"), { recursive: true });
  await rm(join(directory, "owner.json"));
}

async function newest(folder: string, name: RegExp): Promise<string | undefined> {
  const found = (await readdir(folder)).filter((file) => name.test(file)).sort();
  return found.length === 0 ? undefined : join(folder, found.at(-1)!);
}

async function halve(path: string | undefined): Promise<void> {
  if (path === undefined) return;
  const bytes = await readFile(path);
  await writeFile(path, bytes.subarray(0, bytes.length >> 1));
}

const startOften = async (place: Place) => {
  for (let n = 0; n < 3; n++) await start(place, { killed: n === 1 });
};
const backup = ({ directory, scratch }: Place) => backupState(directory, join(scratch, "backup"));
const restoreBackup = ({ directory, scratch, now }: Place) =>
  restoreState({ directory, from: join(scratch, "backup"), replace: true, now: new Date(now()) });
const loseLevel = ({ directory }: Place) => rm(join(directory, "level"), { recursive: true });
const loseJournal = ({ directory }: Place) => rm(join(directory, "journal"), { recursive: true });
const breakLevel = ({ directory }: Place) => rm(join(directory, "level", "CURRENT"));
const cutLevel = async ({ directory }: Place) => halve(await newest(join(directory, "level"), /^\d+\.log$/));
const cutJournal = async ({ directory }: Place) => halve(await newest(join(directory, "journal"), /^journal-/));
const salvage = (place: Place) => start(place, { salvage: true });
const restoreProven = ({ directory, now }: Place) => restoreState({ directory, now: new Date(now()) });

const WAYS: [title: string, steps: ((place: Place) => Promise<unknown>)[]][] = [
  ["a close", []],
  ["a power cut", [(place) => start(place, { records: 5, killed: true })]],
  ["LevelDB built anew from snapshot and journal, after openings that wrote no record", [loseLevel]],
  ["LevelDB damaged, after openings that wrote no record", [breakLevel]],
  ["LevelDB's newest log cut short", [(place) => start(place, { records: 9, killed: true }), cutLevel]],
  ["the journal lost", [loseJournal]],
  ["the journal cut short", [(place) => start(place, { records: 9, killed: true }), cutJournal]],
  ["both damaged, and salvaged", [breakLevel, loseJournal, salvage]],
  [
    "both cut short, and salvaged",
    [(place) => start(place, { records: 60, killed: true }), startOften, breakLevel, cutJournal, salvage],
  ],
  ["both damaged, and restored from what is proven", [breakLevel, loseJournal, restoreProven]],
  ["a backup restored over what ran on after it", [backup, startOften, restoreBackup]],
  [
    "a backup restored on an empty machine",
    [backup, startOften, ({ directory }) => rm(directory, { recursive: true }), restoreBackup],
  ],
];

// The clock of a machine whose battery is empty knows nothing: then what the files say has to do.
const CLOCKS: [title: string, clock: () => number][] = [
  ["", () => Date.now()],
  [", with a clock that stands at 1970", () => 0],
];

for (const [title, steps] of WAYS) {
  for (const [clockTitle, now] of CLOCKS)
    test(`the term does not fall: ${title}${clockTitle}`, () =>
      inScratch(async (scratch) => {
        const place: Place = { scratch, directory: join(scratch, "store"), now, greatest: 0 };
        await start(place, { records: 40 });
        await startOften(place);
        for (const step of steps) await step(place);
        await start(place, { records: 1 });
        await start(place);
      }));
}

test("the term does not fall when one backup is restored twice, on machines that know nothing of each other", () =>
  inScratch(async (scratch) => {
    const place: Place = { scratch, directory: join(scratch, "store"), now: () => Date.now(), greatest: 0 };
    await start(place, { records: 10 });
    await backup(place);
    for (let n = 0; n < 3; n++) {
      await rm(place.directory, { recursive: true });
      await restoreBackup(place);
      await startOften(place);
    }
  }));

test("the term does not fall when a disk is put back to an older copy of itself", () =>
  inScratch(async (scratch) => {
    const place: Place = { scratch, directory: join(scratch, "store"), now: () => Date.now(), greatest: 0 };
    await start(place, { records: 10 });
    await cp(place.directory, join(scratch, "copy"), { recursive: true });
    await startOften(place);
    await rm(place.directory, { recursive: true });
    await cp(join(scratch, "copy"), place.directory, { recursive: true });
    await start(place, { records: 1 });
  }));

/** mulberry32: the same orders every time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

test("the term does not fall, in 12 orders of starts, power cuts, damages, salvages and restores", () =>
  inScratch(async (scratch) => {
    const random = seeded(20261129);
    const chosen = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
    const damages = [loseLevel, loseJournal, breakLevel, cutLevel, cutJournal];
    for (let order = 0; order < 12; order++) {
      const place: Place = { scratch, directory: join(scratch, `store-${order}`), now: chosen(CLOCKS)[1], greatest: 0 };
      await start(place, { records: 10 });
      for (let step = 0; step < 3; step++) {
        await start(place, { records: Math.floor(random() * 4), killed: random() < 0.5 });
        for (const damage of damages.filter(() => random() < 0.3)) await damage(place).catch(() => undefined);
        if (random() < 0.3) await restoreProven(place);
        await start(place, { salvage: true });
      }
      await rm(place.directory, { recursive: true });
    }
  }));

test("the next term: one more where nothing was lost, a leap where openings may be unknown, and never below the clock", () => {
  const cases: [known: number, whole: boolean, nowMs: number, expected: number][] = [
    [0, true, 0, 1],
    [7, true, 0, 8],
    [7, false, 0, 1_000_007],
    [7, true, 1_000_000_000_000, 1_000_000_000_000_000],
    [1_000_000_000_000_000, true, 1_000_000_000_000, 1_000_000_000_000_001],
    [2_000_000_000_000_000, false, 1_000_000_000_000, 2_000_000_001_000_000],
    [7, true, Date.UTC(9999, 0), 8],
    [7, true, Number.NaN, 8],
  ];
  for (const [known, whole, nowMs, expected] of cases) assert.is(nextTerm({ known, whole, nowMs }), expected);
});

test.run();
