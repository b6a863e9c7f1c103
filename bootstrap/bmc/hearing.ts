// When each card was heard last: what a machine that was woken does is the only answer to Wake-on-LAN.
import type { Timeline } from "../timeline.ts";

const CARDS_MOST = 16_384;

export interface Hearing {
  /** The same timeline, with an ear at it. */
  listening(timeline: Timeline): Timeline;
  /** On the monotonic clock; undefined when it was not heard since our start. */
  at(mac: string): number | undefined;
}

export function hearing(nowMs: () => number = () => performance.now()): Hearing {
  const last = new Map<string, number>();
  return {
    at: (mac) => last.get(mac),
    listening: (timeline) => ({
      ...timeline,
      get queued() {
        return timeline.queued;
      },
      record(happening) {
        const { mac } = happening.claimed;
        last.delete(mac);
        last.set(mac, nowMs());
        if (last.size > CARDS_MOST) last.delete(last.keys().next().value!);
        timeline.record(happening);
      },
    }),
  };
}
