// up and down: the appliance on this machine.
import { fileURLToPath } from "node:url";
import { Fault } from "#api/fault.ts";
import { signalProcess } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import type { Command } from "../command.ts";
import { runningUp, up } from "../up/up.ts";

const FLAGS = [
  { name: "interface", value: "IFACE", help: "Boot machines on this interface's LAN (DHCP, TFTP, HTTP boot)" },
  { name: "dhcp", value: "MODE", help: "proxy: beside the LAN's DHCP server (default). full: be the DHCP server" },
  { name: "dhcp-range", value: "FIRST-LAST", help: "Addresses to give out in full mode" },
  {
    name: "unknown-machines",
    value: "POLICY",
    help: "wait: machines need `flynn machine approve` (default). auto: approve all",
  },
  { name: "disk-policy", value: "POLICY", help: "Of a new cluster: ram (default) or find-empty" },
  { name: "address", value: "IP", help: "Address this machine is reached by" },
  { name: "app-domain", value: "DOMAIN", help: "New apps answer at NAME.DOMAIN; point *.DOMAIN at this machine" },
  { name: "drain-allow", value: "CIDR", help: "Private range that log drains may send to", repeat: true },
  { name: "http-port", value: "PORT", help: "Router's port, 80" },
  { name: "https-port", value: "PORT", help: "Router's port for HTTPS, 443; 0: none" },
  { name: "no-host", help: "Run no apps on this machine" },
  { name: "no-ssh", help: "Serve git over HTTPS only" },
  { name: "images", value: "DIR", help: "Boot images" },
  { name: "state", value: "DIR", help: "State directory: /var/lib/flynn as root, ~/.flynn/state otherwise" },
  {
    name: "salvage",
    help: "Damaged state that cannot be recovered whole: go on with what verifies, and say what is lost",
  },
  { name: "config", value: "FILE", help: "YAML file with the same settings" },
] as const;

export const upCommands: readonly Command[] = [
  {
    words: "up",
    summary: "Run the appliance on this machine, in the foreground",
    flags: FLAGS,
    async run(call) {
      const { configOf } = await import("../up/configure.ts");
      const { signal, say, env } = call.cli;
      await up({ config: configOf(call), signal, say, env, treeDir: fileURLToPath(new URL("../..", import.meta.url)) });
    },
  },
  {
    words: "down",
    summary: "End the appliance that runs on this machine; apps on other hosts go on",
    flags: FLAGS.filter(({ name }) => name === "state" || name === "config"),
    async run(call) {
      const { configOf } = await import("../up/configure.ts");
      const { stateDir } = configOf(call);
      const running = await runningUp(stateDir);
      if (running === undefined) throw new Fault("not-found", `no appliance runs here with state ${stateDir}`);
      await signalProcess(running, "SIGTERM");
      await until(async () => (await runningUp(stateDir)) === undefined, {
        what: `the end of the appliance (pid ${running.pid})`,
        timeoutMs: 60_000,
        signal: call.cli.signal,
      });
      call.cli.say("the appliance has ended");
    },
  },
];
