// What firmware was seen to boot with: the shape of the offer it took and the loader that ran, by machine. A machine that is seen for
// the first time begins with what most machines of its kind (vendor class and the card's maker) took.
import type { Loader, Rung } from "./loader.ts";

/** One record of learnt.journal. */
export interface Lesson {
  mac: string;
  /** Its firmware, as `firmwareKind` says it. */
  kind: string;
  rung: Rung;
  loader: Loader;
  /** Maker's name of the machine, where its script request said it. */
  product?: string;
}

export interface Learnt {
  begins(mac: string, kind: string): { rung: Rung; loader: Loader } | undefined;
  /** Answers the lesson when it is new, and saves it. */
  keep(lesson: Lesson): Lesson | undefined;
  replay(lesson: Lesson): void;
  lessons(): Iterable<Lesson>;
}

export function createLearnt({ save, maxKeys = 16_384 }: { save: (lesson: Lesson) => void; maxKeys?: number }): Learnt {
  const byMac = new Map<string, Lesson>();
  /** Machines by what they took, by kind. */
  const kinds = new Map<string, Map<string, number>>();

  function count({ kind, rung, loader }: Lesson, by: 1 | -1): void {
    const took = kinds.get(kind) ?? new Map<string, number>();
    const key = `${rung} ${loader}`;
    const number = (took.get(key) ?? 0) + by;
    if (number > 0) took.set(key, number);
    else took.delete(key);
    if (took.size > 0) kinds.set(kind, took);
    else kinds.delete(kind);
  }

  function forget(mac: string): void {
    const old = byMac.get(mac);
    if (old === undefined) return;
    byMac.delete(mac);
    count(old, -1);
  }

  function replay(lesson: Lesson): void {
    forget(lesson.mac);
    byMac.set(lesson.mac, lesson);
    count(lesson, 1);
    if (byMac.size > maxKeys) forget(byMac.keys().next().value!);
  }

  return {
    begins(mac, kind) {
      const own = byMac.get(mac);
      if (own !== undefined) return own;
      const [most] = [...(kinds.get(kind) ?? [])].toSorted(([, a], [, b]) => b - a);
      if (most === undefined) return undefined;
      const [rung, loader] = most[0].split(" ") as [string, Loader];
      return { rung: Number(rung) as Rung, loader };
    },
    keep(lesson) {
      const old = byMac.get(lesson.mac);
      const same =
        old !== undefined &&
        old.kind === lesson.kind &&
        old.rung === lesson.rung &&
        old.loader === lesson.loader &&
        (lesson.product === undefined || old.product === lesson.product);
      if (same) return undefined;
      replay(lesson);
      save(lesson);
      return lesson;
    },
    replay,
    lessons: () => byMac.values(),
  };
}

/** What tells one make of firmware from another before it runs: processor, driver version (of option 60) and the card's maker. By PXE and by
 * HTTP it is the same firmware, with two numbers of architecture. */
export function firmwareKind(vendorClass: string | undefined, architecture: string | undefined, mac: string): string {
  const rest = (vendorClass ?? "").replace(/^(PXE|HTTP)Client(:Arch:\d+)?:?/, "");
  return [architecture ?? "", rest, mac.slice(0, 8)].filter((one) => one !== "").join(" ");
}
