// Sources are taken in at so many places at once. No caller and no app has more than a part of them, so that one who fills his part
// keeps nobody else waiting. Pure but for what it remembers.
import { Fault } from "#api/fault.ts";

export interface Places {
  /** Gives back the place. Fault `rate-limited`, in words, when there is none. */
  take(of: { by: string; appId: string }): () => void;
}

const PLACES = { most: 8, mostOfOne: 4 };

export function intakePlaces({ most, mostOfOne }: typeof PLACES = PLACES): Places {
  const taken = new Set<{ by: string; appId: string }>();
  const refuse = (message: string) => new Fault("rate-limited", `${message}; try again in a moment`, { retry: true });
  return {
    take({ by, appId }) {
      const place = { by, appId };
      if (taken.size >= most) throw refuse(`${most} sources are being taken in already`);
      const own = [...taken].filter((other) => other.by === by).length;
      if (own >= mostOfOne) throw refuse(`${own} sources of ${by} are being taken in already, the most of one caller`);
      const same = [...taken].filter((other) => other.appId === appId).length;
      if (same >= mostOfOne)
        throw refuse(`${same} sources of this app are being taken in already, the most of one app`);
      taken.add(place);
      return () => void taken.delete(place);
    },
  };
}
