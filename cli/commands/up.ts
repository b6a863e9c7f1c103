// up and down: the appliance on this machine.
import { Fault } from "#api/fault.ts";
import { signalProcess } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import { treeFile } from "../clone/tree.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { runningUp } from "../up/running.ts";

const FLAGS = [
  { name: "interface", value: "IFACE", help: "Boot machines on this interface's LAN (DHCP, TFTP, HTTP boot)" },
  {
    name: "dhcp",
    value: "MODE",
    help: "proxy: beside the LAN's DHCP server (default). full: be it. auto: what is there",
  },
  { name: "dhcp-anyway", help: "Full mode though another DHCP server gives addresses there" },
  { name: "dhcp-range", value: "FIRST-LAST", help: "Addresses to give out in full mode" },
  { name: "dhcp-router", value: "IP", help: "Gateway that machines are told, in full mode" },
  { name: "dhcp-dns", value: "IP", help: "Name server that machines are told, in full mode", repeat: true },
  { name: "dhcp-ntp", value: "IP", help: "Time server that machines are told, in full mode", repeat: true },
  { name: "dhcp-domain", value: "DOMAIN", help: "Domain that machines are told, in full mode" },
  { name: "dhcp-lease", value: "TIME", help: "How long an address is lent in full mode, 1h" },
  { name: "dhcp-reserve", value: "MAC=IP", help: "Address that a card always gets, in full mode", repeat: true },
  {
    name: "dhcp-relay",
    value: "IP/PREFIX[@UPLINK]",
    help: "DHCP relay to believe, the network behind it, where it sends from",
    repeat: true,
  },
  {
    name: "unknown-machines",
    value: "POLICY",
    help: "wait: machines need `flynn machine approve` (default). inventory: and say what they are. auto: approve all",
  },
  { name: "disk-policy", value: "POLICY", help: "Of a new cluster: ram (default) or find-empty" },
  { name: "address", value: "IP", help: "Address this machine is reached by" },
  { name: "app-domain", value: "DOMAIN", help: "New apps answer at NAME.DOMAIN; point *.DOMAIN at this machine" },
  { name: "build-ca", value: "FILE", help: "Authorities (PEM) that builds trust when they fetch packages" },
  { name: "build-proxy", value: "URL", help: "Proxy that builds fetch packages through" },
  { name: "build-no-proxy", value: "NAMES", help: "What builds reach without the proxy, by commas" },
  { name: "build-env", value: "NAME=VALUE", help: "Setting of builds' package installers, not of apps", repeat: true },
  { name: "drain-allow", value: "CIDR", help: "Private range that log drains may send to", repeat: true },
  {
    name: "app-network",
    value: "WHAT",
    help: "app: apps reach each other only by `flynn network allow` (default). cluster: always",
  },
  {
    name: "app-egress",
    value: "WHAT",
    help: "What apps and builds reach outside: internet: no private networks (default); all; or none",
  },
  { name: "boot-networks", value: "CIDR", help: "Network machines boot on; no app or build reaches it", repeat: true },
  {
    name: "bmc-networks",
    value: "CIDR",
    help: "Network of the machines' BMCs; no app or build reaches it",
    repeat: true,
  },
  {
    name: "trusted-fronts",
    value: "CIDR",
    help: "Load balancer before the router whose X-Forwarded headers are believed",
    repeat: true,
  },
  {
    name: "proxy-sources",
    value: "CIDR",
    help: "One whose connections begin with the PROXY protocol",
    repeat: true,
  },
  {
    name: "cluster-range",
    value: "CIDR",
    help: "Network of apps, a part of it for each host, 100.64.0.0/16; it may be made wider later, and stays so",
  },
  {
    name: "host-net",
    value: "BITS",
    help: "Prefix of each host's part from now on: 24 (253 jobs); 22 (1021) to 26 (61). Hosts with less get it once they have no jobs",
  },
  { name: "free-floor", value: "SIZE", help: "Free space below which uploads and pushes are refused, such as 2GiB" },
  { name: "app-git-limit", value: "SIZE", help: "Of an app's git repository, 1GiB" },
  { name: "app-source-limit", value: "SIZE", help: "Of the sources of an app's unfinished builds, unpacked, 4GiB" },
  { name: "app-image-limit", value: "SIZE", help: "Of an app's images in the registry, 50GiB" },
  { name: "image-limit", value: "SIZE", help: "Of all images in the registry; none but the free space" },
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
    flags: [
      ...FLAGS,
      {
        name: "install",
        help: "Run it as a service: now, at each start of this machine, and again whenever it ends (systemd)",
      },
    ],
    more: `  flynn up --interface eth1                       boot machines of that LAN, until Ctrl-C
  flynn up --interface eth1 --install             the same as a service; again to change it
  journalctl -u flynn -f                          what the service says`,
    needsClone: true,
    async run(call) {
      if (call.on("install")) return installed(call);
      const [{ configOf }, { up }] = await Promise.all([import("../up/configure.ts"), import("../up/up.ts")]);
      const { signal, say, env } = call.cli;
      await up({ config: configOf(call), signal, say, env, treeDir: treeFile("") });
    },
  },
  {
    words: "down",
    summary: "End the appliance that runs on this machine; apps on other hosts go on",
    flags: [
      ...FLAGS.filter(({ name }) => name === "state" || name === "config"),
      { name: "uninstall", help: "Take out the service that `flynn up --install` made; the state stays" },
    ],
    more: [
      "  flynn down                        as the user of `flynn up`; its state stays, and `flynn up` goes on from there",
      "  flynn down --state DIR            the one whose state is in DIR; `flynn doctor` says where it is",
      "",
      "While it is down: jobs on other hosts run on, and nothing is deployed, scaled or restarted elsewhere. Jobs on this machine's own Docker",
      "run on as well, and requests that come by this machine's router are answered again when the appliance is back.",
    ].join("\n"),
    async run(call) {
      if (call.on("uninstall")) {
        const { uninstall, UNIT } = await import("../up/install.ts");
        await uninstall();
        return call.cli.say(`${UNIT} has ended and is not started again; its state is where it was`);
      }
      const { configOf } = await import("../up/configure.ts");
      const { stateDir } = configOf(call);
      const running = await runningUp(stateDir);
      if (running === undefined) throw new Fault("not-found", `no appliance runs here with state ${stateDir}`);
      const { stopService } = await import("../up/install.ts");
      if (!(await stopService(running.pid))) await signalProcess(running, "SIGTERM");
      await until(async () => (await runningUp(stateDir)) === undefined, {
        what: `the end of the appliance (pid ${running.pid})`,
        timeoutMs: 60_000,
        signal: call.cli.signal,
      });
      call.cli.say("the appliance has ended");
    },
  },
];

/** The flags as they were given, checked as `up` itself checks them, so that no service is made that cannot start. */
async function installed(call: Invocation): Promise<void> {
  const [{ configOf }, { install, UNIT }] = await Promise.all([
    import("../up/configure.ts"),
    import("../up/install.ts"),
  ]);
  const { cli } = call;
  const { stateDir } = configOf(call);
  const running = await runningUp(stateDir);
  const { stopService } = await import("../up/install.ts");
  if (running !== undefined && !(await stopService(running.pid)))
    throw new Fault(
      "conflict",
      `an appliance runs here in the foreground (pid ${running.pid}); end it first: flynn down`,
    );
  const { args } = await install({
    node: process.execPath,
    treeDir: treeFile("").replace(/\/$/, ""),
    args: givenFlags(call),
    home: cli.env["HOME"] ?? "/root",
  });
  cli.say(
    `${UNIT} runs \`flynn up${args.map((arg) => ` ${arg}`).join("")}\` now, and at each start of this machine\nsee it: systemctl status flynn; follow it: journalctl -u flynn -f; how all is: flynn status`,
  );
}

function givenFlags(call: Invocation): string[] {
  return FLAGS.flatMap((flag) => {
    if (!("value" in flag)) return call.on(flag.name) ? [`--${flag.name}`] : [];
    const texts = "repeat" in flag ? call.texts(flag.name) : [call.text(flag.name) ?? []].flat();
    return texts.flatMap((text) => [`--${flag.name}`, text]);
  });
}
