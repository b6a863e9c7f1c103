// The tree (the clone) that this CLI stands in: the appliance, and what builds images, are programs of it. The packed CLI is one file
// without a tree; what needs one says so there.
import { fileURLToPath } from "node:url";
import { Fault } from "#api/fault.ts";

declare const FLYNN_PACKED: true | undefined;

/** Set when the CLI is packed (`npm run package:cli`). */
export const isPacked = typeof FLYNN_PACKED !== "undefined";

export function treeFile(path: string): string {
  if (isPacked) throw needsClone("this command");
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}

export const needsClone = (what: string): Fault =>
  new Fault(
    "invalid",
    [
      `${what} needs the whole Flynn tree, and this is the command line alone`,
      "Run it on the appliance's machine (Debian 12, root), in a clone of Flynn: npm run flynn -- help; the appliance itself starts there with: npm start -- --interface eth0",
      "This command reaches an appliance that runs: flynn cluster add NAME https://10.77.0.1:7777 - --pin PIN",
    ].join("\n"),
  );
