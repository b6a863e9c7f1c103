// Loops end: a machine that got so many boots within a time, none of which reached `ready`, is given another one. First the image that was
// seen to work, then a prompt that says why. The one rule, for control and for the boot server, which decides by it while control is away.
import { type Static, Type } from "typebox";
import { formatDuration } from "#lib/units.ts";
import { Id, object, oneOf } from "./schema.ts";

export const FallbackStage = oneOf(
  ["image", "rescue"],
  "image: it boots the image that was seen to reach `ready` last, or goes on with its own where there is no other. rescue: the rescue prompt.",
);
export type FallbackStage = Static<typeof FallbackStage>;

/** What a boot server counts by; left out by a control that counts nothing. */
export const BootGuard = object({
  boots: Type.Integer({ minimum: 1, description: "Boots that end before `ready`, after which a machine falls back." }),
  withinMs: Type.Integer({ minimum: 1, description: "In this time, in milliseconds." }),
  after: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "Boots up to this one do not count, nor does any before it." }),
  ),
  stage: Type.Optional(FallbackStage),
  imageId: Type.Optional(
    Type.Unsafe<string>({ ...Id, description: "The image it, or else any machine, was last seen `ready` with." }),
  ),
  reason: Type.Optional(Type.String({ maxLength: 400, description: "Of the stage, for the machine's console." })),
});
export type BootGuard = Static<typeof BootGuard>;

/** One that was given a script, and is over without `ready`. */
export interface FailedBoot {
  bootId: string;
  imageId?: string | undefined;
  atMs: number;
  /** What is known of its end, in plain words. */
  end?: string | undefined;
}

export interface Fallback {
  stage: FallbackStage;
  /** What it boots now; undefined: no other image was ever seen to work. */
  imageId?: string | undefined;
  reason: string;
  /** The last boot that counted. */
  after: string;
}

/** What follows from boots that failed, oldest first, of those that count; undefined: nothing yet. */
export function fallbackAfter(
  guard: Pick<BootGuard, "boots" | "withinMs" | "stage" | "imageId">,
  failed: readonly FailedBoot[],
): Fallback | undefined {
  let found: Fallback | undefined;
  let stage = guard.stage;
  let group: FailedBoot[] = [];
  for (const boot of failed) {
    if (stage === "rescue") break;
    group = [...group.filter(({ atMs }) => boot.atMs - atMs <= guard.withinMs), boot];
    if (group.length < guard.boots) continue;
    stage = stage === undefined ? "image" : "rescue";
    found = { ...fallenBack(stage, guard.imageId, group), stage, after: boot.bootId };
    group = [];
  }
  return found;
}

function fallenBack(
  stage: FallbackStage,
  lastGood: string | undefined,
  group: readonly FailedBoot[],
): Pick<Fallback, "imageId" | "reason"> {
  const [first, last] = [group[0]!, group.at(-1)!];
  const time = formatDuration(Math.max(1_000, Math.round((last.atMs - first.atMs) / 1_000) * 1_000));
  const count = group.length === 1 ? "a boot" : `${group.length} boots within ${time}`;
  const image = last.imageId === undefined ? "" : ` of image ${last.imageId}`;
  const end = last.end === undefined ? "" : ` (the last: ${last.end})`;
  const why = `${count}${image} ended before it was ready${end}`;
  const other = lastGood !== last.imageId ? lastGood : undefined;
  if (stage === "rescue") return { imageId: lastGood, reason: `${why}; it waits at the rescue prompt` };
  if (other === undefined)
    return { reason: `${why}; no other image was ever seen to work here, so it is tried ${group.length} times more` };
  return { imageId: other, reason: `${why}; it boots ${other}, the last image that worked` };
}
