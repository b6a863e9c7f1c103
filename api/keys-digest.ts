// Whether two sides have the same certificates and keys, in one line: what is the same need not be sent again.
import { createHash } from "node:crypto";
import type { RouterTarget } from "./router-agents.ts";

type Certificate = NonNullable<RouterTarget["certificates"]>[number];

/** The same text for the same ids, chains and keys, in whatever order they come. */
export function keysDigest(certificates: readonly Pick<Certificate, "id" | "pem">[]): string {
  const rows = certificates.map(({ id, pem }) => `${id} ${createHash("sha256").update(pem).digest("hex")}\n`).sort();
  return createHash("sha256").update(rows.join("")).digest("hex");
}
