// Whose a slot is. Asked for each line of the access log: no search through all.
import type { SlotOwner } from "./access-log.ts";
import type { Assignment } from "./assignment.ts";

/** `be_0001/s2`, or `be_0001/<NOSRV>` for a request that no job was given. */
export function ownerOf({ backends, tcp }: Assignment, slot: string): SlotOwner | undefined {
  const [, kind, number, s] = /^(be|tcp)_(\d+)\/(?:s(\d+)|<NOSRV>)$/.exec(slot) ?? [];
  const backend = kind === "be" ? backends[Number(number) - 1] : tcp?.find(({ port }) => port === Number(number));
  if (backend?.pool === undefined) return undefined;
  const { id, app } = backend.pool;
  const jobId = backend.slots[Number(s) - 1]?.jobId;
  const jobs = backend.slots.filter(Boolean).length;
  const [appId = "", rest = ""] = id.split("/", 2);
  const process = rest.split("@", 1)[0]!; // a canary's pool has its release after it
  return { app, appId, process, jobs, ...(jobId === undefined ? {} : { jobId }) };
}
