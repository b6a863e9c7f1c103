// What is asked of a staged deployment, checked once for all ways to ask for one.
import { Fault } from "#api/fault.ts";
import type { Staging } from "./record.ts";

type Asked = { [Field in keyof Staging]?: Staging[Field] | undefined };

/** A share without a pause would be over before anybody saw it. Fault `invalid`. */
export function stagingOf({ pauseAfter, canaryPercent }: Asked): Staging {
  if (canaryPercent !== undefined && pauseAfter === undefined)
    throw new Fault("invalid", "canaryPercent needs pauseAfter, such as pauseAfter=1 and canaryPercent=5", {
      details: { field: "pauseAfter" },
    });
  return {
    ...(pauseAfter === undefined ? {} : { pauseAfter }),
    ...(canaryPercent === undefined ? {} : { canaryPercent }),
  };
}
