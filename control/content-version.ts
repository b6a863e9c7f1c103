// The version of what has no record of its own: the same for the same content, so that a change which left it as it was stands in
// nobody's way. Keyed, since content may be secret; 48 bits, which an ETag of ours can hold.
import { Fault } from "#api/fault.ts";
import type { Secrets } from "./secrets.ts";

export const contentVersion = (secrets: Pick<Secrets, "digest">, content: unknown): number =>
  1 + Number.parseInt(secrets.digest(JSON.stringify(content)).slice(0, 12), 16);

/** Fault `precondition` when somebody reads another version in `ifMatch` than there is now. */
export function checkContent(what: string, version: number, ifMatch: number | undefined): void {
  if (ifMatch !== undefined && ifMatch !== version)
    throw new Fault("precondition", `${what} changed since you read it`, { details: { expected: ifMatch } });
}
