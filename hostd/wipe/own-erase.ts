// Erasing by the disk itself, all of it at once, copies included that no address leads to: NVMe's Format with user data erase (NVM Express
// Base 2.0, 5.14), ATA's security erase (ACS-4, 7.43). By nvme-cli and hdparm; what is offered is asked of the disk.
import { exec } from "#lib/exec.ts";

export interface OwnErase {
  words: string;
  erase(): Promise<void>;
}

export interface OwnEraseOptions {
  path: string;
  /** Also what takes a disk hours, and a password for that long. */
  thorough: boolean;
  run?: typeof exec;
  signal: AbortSignal;
}

const ASK_MS = 30_000;
const ERASE_MS = 24 * 3_600_000;
/** Known, so that whoever finds a disk that lost its power meanwhile can unlock it: hdparm --security-unlock flynn. */
const PASSWORD = "flynn";

/** For people. */
export const unlockWords = (path: string): string =>
  `it is locked with the password "${PASSWORD}": ${["unlock", "disable"].map((act) => `hdparm --user-master u --security-${act} ${PASSWORD} ${path}`).join(", then ")}`;

/** Undefined: it has none that may be used. Nothing is changed by asking. */
export async function ownErase(options: OwnEraseOptions): Promise<OwnErase | undefined> {
  const { path, thorough, run = exec, signal } = options;
  const ask = async (argv: string[]): Promise<string | undefined> =>
    run(argv, { timeoutMs: ASK_MS, signal }).then(
      ({ stdout }) => stdout,
      () => undefined, // it does not say that it can
    );
  const act = async (argv: string[]): Promise<void> => void (await run(argv, { timeoutMs: ERASE_MS, signal }));
  if (/^\/dev\/nvme\d+n\d+$/.test(path)) {
    const controller = await ask(["nvme", "id-ctrl", path, "--output-format=json"]);
    // Those too that are attached to no controller, or to another one.
    const listed = await ask(["nvme", "list-ns", path, "--all", "--output-format=json"]);
    if (!canFormat(controller, listed)) return undefined;
    return {
      words: "erased by the disk itself (NVMe format)",
      erase: () => act(["nvme", "format", path, "--ses=1", "--force", `--timeout=${ERASE_MS}`]),
    };
  }
  if (!thorough || !/^\/dev\/sd[a-z]+$/.test(path)) return undefined;
  const found = ataSecurity((await ask(["hdparm", "-I", path])) ?? "");
  if (found === undefined) return undefined;
  const user = ["hdparm", "--user-master", "u"];
  return {
    words: `erased by the disk itself (ATA security erase${found.enhanced ? ", enhanced" : ""})`,
    async erase() {
      await act([...user, "--security-set-pass", PASSWORD, path]);
      try {
        await act([...user, found.enhanced ? "--security-erase-enhanced" : "--security-erase", PASSWORD, path]);
      } catch (error) {
        // Else it would be locked from the next power-on.
        await run([...user, "--security-disable", PASSWORD, path], { timeoutMs: ASK_MS }).catch((cause: unknown) => {
          throw new Error(`${path} has the password "${PASSWORD}" now: hdparm --security-disable ${PASSWORD} ${path}`, {
            cause,
          });
        });
        throw error;
      }
    },
  };
}

/**
 * OACS bit 1: it has the command. FNA bits 0 and 1: it takes all namespaces along, which must then be this one alone: NN says that there can be
 * no second one, or the list of all that are allocated has none.
 */
export function canFormat(controller: string | undefined, listed: string | undefined): boolean {
  try {
    const { oacs, fna, nn } = JSON.parse(controller ?? "{}") as { oacs?: number; fna?: number; nn?: number };
    if (typeof oacs !== "number" || typeof fna !== "number" || (oacs & 2) === 0) return false;
    if ((fna & 3) === 0 || nn === 1) return true;
    const { nsid_list: namespaces } = JSON.parse(listed ?? "{}") as { nsid_list?: unknown[] };
    return namespaces?.length === 1;
  } catch {
    return false;
  }
}

/** Of `hdparm -I`: undefined unless the disk can, has no password, and was not frozen by the firmware. */
export function ataSecurity(text: string): { enhanced: boolean } | undefined {
  const [, section] = /^Security:\s*\n((?:[ \t]+.*\n?)+)/m.exec(text) ?? [];
  if (section === undefined) return undefined;
  const lines = section.split("\n").map((line) => line.trim().replaceAll(/\s+/g, " "));
  const says = (words: string) => lines.includes(words);
  if (!says("supported") || !says("not enabled") || !says("not locked") || !says("not frozen")) return undefined;
  return { enhanced: says("supported: enhanced erase") };
}
