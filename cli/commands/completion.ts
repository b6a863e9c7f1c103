// completion, and the hidden command that completion scripts ask for names.
import { listApps } from "#api/apps.ts";
import { listBootImages } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { listHosts } from "#api/hosts.ts";
import { listMachines } from "#api/machines.ts";
import { clusterClient } from "../clusters/clusters.ts";
import { clustersFile, readClusters } from "../clusters/clusters-file.ts";
import { clusterOf, listAll } from "../clusters/connect.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { completionScript, SHELLS } from "../parse/completion.ts";

/** A shell waits for this at each press of TAB. */
const PATIENCE_MS = 1_500;

export const completionCommands: readonly Command[] = [
  {
    words: "completion",
    summary: "Print a completion script for bash, zsh, fish or PowerShell",
    more: "  source <(flynn completion bash)\n  flynn completion fish | source\n  flynn completion powershell | Out-String | Invoke-Expression",
    args: [{ name: "SHELL", required: true, offers: "shells" }],
    async run({ args: [wanted], cli }) {
      const shell = SHELLS.find((known) => known === wanted);
      if (shell === undefined) throw new Fault("invalid", `no completion for ${wanted}; there is ${SHELLS.join(", ")}`);
      cli.print(completionScript(shell, cli.commands).trimEnd());
    },
  },
  {
    words: "complete",
    summary: "Names for completion scripts",
    hidden: true,
    args: [{ name: "WHAT", required: true }],
    async run(call) {
      for (const name of await names(call).catch(() => [])) call.cli.print(name);
    },
  },
];

async function names(call: Invocation): Promise<string[]> {
  const { cli } = call;
  const what = call.args[0];
  if (what === "shells") return [...SHELLS];
  if (what === "clusters") return (await readClusters(clustersFile(cli.env))).clusters.map(({ name }) => name);
  const client = clusterClient(await clusterOf(call), { timeoutMs: PATIENCE_MS });
  const input = { signal: AbortSignal.any([cli.signal, AbortSignal.timeout(PATIENCE_MS)]) };
  try {
    if (what === "apps") return (await listAll(client, listApps, input)).map(({ name }) => name);
    if (what === "hosts") return (await listAll(client, listHosts, input)).map(({ name }) => name);
    if (what === "machines") return (await listAll(client, listMachines, input)).map(({ name }) => name);
    if (what === "images") return (await listAll(client, listBootImages, input)).map(({ id }) => id);
    return [];
  } finally {
    client.close();
  }
}
