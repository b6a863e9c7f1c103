// After control's state was restored: what hosts run and this state does not know. It goes on until a person decides, or ten minutes passed.
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { Id, Name, object, oneOf, Time } from "./schema.ts";

export const QuarantineDecision = oneOf(
  ["keep", "end"],
  "keep: they run on until they are told to end. end: now, each with its time to stop.",
);

/** In a host's target. */
export const Quarantine = object({
  restoredAt: Time,
  at: Type.Optional(
    Type.String({ description: "When the newest change that is in the restored state was made, if known." }),
  ),
  decision: Type.Optional(QuarantineDecision),
});
export type Quarantine = Static<typeof Quarantine>;

/** In a host's report. */
export const QuarantinedJob = object({ jobId: Id, app: Name });

export const decideQuarantine = endpoint({
  id: "decideQuarantine",
  method: "PUT",
  path: "/v1/quarantine",
  summary: "Decide on containers that a restored state does not know: keep them running, or end them now",
  permission: "cluster:write",
  body: object({ decision: QuarantineDecision }),
  reply: Quarantine,
});
