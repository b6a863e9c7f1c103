// What several boots say together, and who a machine is: loops, restarts in the middle, duplicate identity, approval.
import { type Boot, isCode, isProgress, rankOf, tryBegins } from "../boot.ts";
import { type Rule, told } from "../rule.ts";

const LOOP_MS = 3_600_000;
/** Boots that got their script and never became ready, in an hour. */
const LOOP_BOOTS = 3;
/** A machine in a loop begins again within this time. */
const SILENT_MS = 900_000;
const RESTART_MS = 600_000;
const KERNEL_RANK = 6;

/** The scripts of boots in a row of which none became ready. */
function loop({ events, now }: Boot) {
  const after = events.findLastIndex(({ stage }) => stage === "ready") + 1;
  return events
    .slice(after)
    .filter(
      (event) =>
        event.stage === "script" &&
        event.bootId !== undefined &&
        !isCode("ipxe-runs")(event) &&
        now.getTime() - Date.parse(event.at) < LOOP_MS,
    );
}

const furthest = (events: Boot["events"]) =>
  events
    .filter(isProgress)
    .reduce<Boot["last"]>((far, one) => (far && rankOf(far) >= rankOf(one) ? far : one), undefined);

export const LIFE_RULES: readonly Rule[] = [
  told("loop-guard", ({ message }) => ({
    what: `it booted again and again without becoming ready: ${message}`,
    todo: "flynn machine timeline NAME shows where each boot ended; flynn machine reprovision NAME begins anew",
  })),
  {
    id: "boot-loop",
    kind: "seen",
    follows: `${LOOP_BOOTS} boot scripts or more within an hour, and no ready`,
    find(boot) {
      const scripts = loop(boot);
      if (scripts.length < LOOP_BOOTS || boot.silentMs > SILENT_MS) return undefined;
      const newest = boot.events.indexOf(scripts.at(-1)!);
      const far = furthest(boot.events.slice(boot.events.indexOf(scripts[0]!), newest))!;
      const now = furthest(boot.events.slice(newest))!;
      if (rankOf(now) > rankOf(far)) return undefined; // this one gets further than those before
      return {
        what: `it began ${scripts.length} boots within an hour and none became ready; the furthest came to ${far.stage}`,
        todo: "look at its console at that step; give it its last good image: flynn image rollout",
        seen: scripts.slice(-LOOP_BOOTS),
      };
    },
  },
  {
    id: "restarted-midway",
    kind: "seen",
    follows: "a boot past its kernel, and firmware's DISCOVER within ten minutes after it, without a refusal",
    find(boot) {
      if (loop(boot).length >= LOOP_BOOTS) return undefined;
      const begins = tryBegins(boot.events);
      const [from, to] = begins.slice(-2);
      if (from === undefined || to === undefined) return undefined;
      const before = boot.events.slice(from, to);
      const far = furthest(before);
      const anew = boot.events[to]!;
      if (far === undefined || rankOf(far) < KERNEL_RANK || far.stage === "ready") return undefined;
      if (before.some(({ stage }) => ["ready", "boot-failed", "power", "order"].includes(stage))) return undefined;
      if (Date.parse(anew.at) - Date.parse(far.at) > RESTART_MS) return undefined;
      if (rankOf(boot.last!) >= rankOf(far)) return undefined;
      return {
        what: `it started anew in the middle of its boot, after ${far.stage}`,
        todo: "look at its console for a kernel panic; else at its power supply and at whoever switches it off and on",
        seen: [far, anew],
      };
    },
  },
  {
    id: "duplicate-uuid",
    kind: "seen",
    follows: "a machine that waits for approval, and others that show its UUID",
    find({ machine, sameUuid = [], last }) {
      if (machine.state !== "discovered" || machine.pending !== undefined || sameUuid.length === 0) return undefined;
      const more = sameUuid.length > 3 ? ` and ${sameUuid.length - 3} more` : "";
      return {
        what: `it waits for approval, and shows the UUID of ${sameUuid.slice(0, 3).join(", ")}${more}`,
        todo: `if it is a machine of its own: flynn machine approve ${machine.name}; its UUID tells nothing then, its card and serial do`,
        seen: last === undefined ? [] : [last],
      };
    },
  },
];
