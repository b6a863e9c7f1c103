// How a deployment is staged: where it pauses, and the share of requests that its release has meanwhile.
import { Type } from "typebox";

export const PauseAfter = Type.Integer({
  minimum: 1,
  maximum: 10_000,
  description:
    "It pauses by itself once, when so many jobs of the new release are healthy (of each process; all of them where a process has fewer).",
});

const PERCENT = { minimum: 0, maximum: 100 };
export const SharePercent = Type.Integer({
  ...PERCENT,
  description: "Of the route's requests, chosen by lot. 0: none, its jobs run and wait; 100: all.",
});
export const CanaryPercent = Type.Integer({
  ...PERCENT,
  description:
    "With `pauseAfter`: from its first new job on, every http route of the app gives the release this share of its requests, as if `canary` had been set on each.",
});
