// The LAN before machines boot from it: which DHCP servers answer there (bootstrap/preflight asks), and what follows from that for the
// mode. `lanVerdict` is pure.
import type { DhcpServer } from "#api/dhcp-servers.ts";
import { dhcpServerText } from "#api/dhcp-servers.ts";
import { exec } from "#lib/exec.ts";
import { causeChain } from "#lib/run.ts";
import { treeFile } from "../clone/tree.ts";
import type { Problem } from "./checks.ts";
import type { UpConfig } from "./config.ts";

const ASK_MS = 30_000;

/** The servers that were heard, or why they could not be asked for. */
export type Heard = readonly DhcpServer[] | { failed: string };

export async function askLan(
  { interface: name }: Pick<UpConfig, "interface">,
  { address, signal }: { address: string; signal: AbortSignal },
): Promise<Heard> {
  const argv = [process.execPath, treeFile("bootstrap/preflight/main.ts"), "--interface", name, "--address", address];
  try {
    const { stdout } = await exec(argv, { timeoutMs: ASK_MS, signal });
    return JSON.parse(stdout) as DhcpServer[];
  } catch (error) {
    if (signal.aborted) throw error;
    return { failed: causeChain(error).join(": ").slice(0, 300) };
  }
}

type Lan = Pick<UpConfig, "dhcp" | "dhcpAnyway" | "dhcpRange" | "interface">;

export interface LanVerdict {
  /** The mode to run in; `auto` is one of both by now. */
  dhcp: "proxy" | "full";
  /** What was heard and follows from it, a line each. */
  say: string[];
  warnings: Problem[];
  /** Why the appliance must not start so. */
  problems: Problem[];
}

export function lanVerdict(lan: Lan, heard: Heard): LanVerdict {
  const { interface: name } = lan;
  if ("failed" in heard) {
    const what = `which DHCP servers answer on ${name} could not be asked: ${heard.failed}`;
    const todo = `ask again later, as root: flynn doctor network --interface ${name}`;
    const unknown = { what, todo };
    if (lan.dhcp !== "auto") return { dhcp: lan.dhcp, say: [], warnings: [unknown], problems: [] };
    return {
      dhcp: "proxy",
      say: [],
      warnings: [],
      problems: [{ what, todo: "name a mode: --dhcp proxy or --dhcp full" }],
    };
  }
  const giving = heard.filter(({ gives }) => gives !== undefined);
  const dhcp = lan.dhcp === "auto" ? (giving.length > 0 ? "proxy" : "full") : lan.dhcp;
  const say = heard.length === 0 ? [] : [`DHCP on ${name}: ${heard.map(dhcpServerText).join("; ")}`];
  if (lan.dhcp === "auto")
    say.push(
      dhcp === "proxy"
        ? `DHCP on ${name}: boot files beside that server (proxy), as it gives addresses`
        : `DHCP on ${name}: nobody gives addresses, so this machine does (full), ${lan.dhcpRange}`,
    );
  const found = dhcp === "full" ? besideFull(lan, giving) : besideProxy(lan, giving);
  return { dhcp, say, ...found, warnings: [...found.warnings, ...booting(lan, heard)] };
}

type Found = Pick<LanVerdict, "warnings" | "problems">;

function besideFull({ interface: name, dhcpAnyway }: Lan, giving: readonly DhcpServer[]): Found {
  if (giving.length === 0) return { warnings: [], problems: [] };
  const beside = {
    what: `--dhcp full on ${name}: another DHCP server gives addresses there: ${giving.map(dhcpServerText).join("; ")}`,
    todo: `run beside it: flynn up --interface ${name} --dhcp proxy; or switch it off; or, if both are meant and their addresses do not overlap, add --dhcp-anyway`,
  };
  return dhcpAnyway ? { warnings: [beside], problems: [] } : { warnings: [], problems: [beside] };
}

function besideProxy({ interface: name }: Lan, giving: readonly DhcpServer[]): Found {
  if (giving.length > 0) return { warnings: [], problems: [] };
  return {
    warnings: [
      {
        what: `no DHCP server answers on ${name}: nobody gives machines there an address, so none boots`,
        todo: `switch the network's own DHCP server on; or, where there is none: flynn up --interface ${name} --dhcp full --dhcp-range FIRST-LAST`,
      },
    ],
    problems: [],
  };
}

const booting = ({ interface: name }: Lan, heard: readonly DhcpServer[]): Problem[] =>
  heard
    .filter(({ boots }) => boots)
    .map((server) => ({
      what: `another DHCP server on ${name} tells machines what to boot as well: ${dhcpServerText(server)}`,
      todo: "take boot file and next server (options 43, 60, 66, 67) out of its settings, or machines boot by whichever answers first",
    }));
