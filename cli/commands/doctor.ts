// doctor: what is wrong here and in the cluster, and what to do about each.
import { stat } from "node:fs/promises";
import type { Client } from "#api/client.ts";
import { type DhcpServer, dhcpServerText } from "#api/dhcp-servers.ts";
import { Fault, isFault } from "#api/fault.ts";
import { explainMachine, listMachines } from "#api/machines.ts";
import { getStack } from "#api/stack.ts";
import { getStatus } from "#api/status.ts";
import { isPacked, needsClone, treeFile } from "../clone/tree.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer } from "../output/answer.ts";
import { type Complaint, NO_STACK, partTodo } from "../output/remedy.ts";
import { paint, plain } from "../output/text.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { ownAddress, ownLinks } from "../up/address.ts";
import { findProblems, onPath } from "../up/checks.ts";
import type { UpConfig } from "../up/config.ts";
import { askLan, lanVerdict } from "../up/lan.ts";
import { parts } from "../up/parts.ts";
import { keptSettings, stateDirAtPort } from "../up/running.ts";
import { settingsProblems } from "../up/settings.ts";

export const doctorCommands: readonly Command[] = [
  {
    words: "doctor",
    summary: "Look for what is wrong, on this machine and in the cluster, and say what to do",
    more: "Exit code 1 when something was found. This machine is looked at when an appliance runs or has its state here, or with --local.",
    flags: [
      { name: "local", help: "Check whether `flynn up` could start on this machine" },
      { name: "state", value: "DIR", help: "State directory of the appliance" },
      { name: "config", value: "FILE", help: "Config file of the appliance" },
    ],
    run: doctor,
  },
  {
    words: "doctor network",
    summary: "Which DHCP servers answer on the machines' network, and what is wrong with that",
    more: "Exit code 1 when something is. Run it as root on the appliance's machine; it asks as a client that is not there, and takes no address.",
    flags: [
      { name: "interface", value: "IFACE", help: "Interface to ask on; the one that machines boot on" },
      { name: "state", value: "DIR", help: "State directory of the appliance" },
      { name: "config", value: "FILE", help: "Config file of the appliance" },
    ],
    needsClone: true,
    run: doctorNetwork,
  },
];

interface NetworkReport {
  interface: string;
  servers: readonly DhcpServer[];
  complaints: Complaint[];
}

async function doctorNetwork(call: Invocation): Promise<number> {
  const { cli } = call;
  const kept = await settingsHere(call);
  const config = { ...kept, interface: call.text("interface") ?? kept.interface };
  if (config.interface === "")
    throw new Fault(
      "invalid",
      "no machines boot from here; name an interface to ask on: flynn doctor network --interface eth0",
    );
  const { servers, complaints } = await networkReport(config, cli.signal);
  const report: NetworkReport = { interface: config.interface, servers, complaints };
  answer(cli, report, () => {
    if (servers.length === 0) cli.print(`no other DHCP server answers on ${config.interface}`);
    for (const server of servers) cli.print(`${config.interface}: ${plain(dhcpServerText(server))}`);
    printComplaints(call, complaints);
  });
  return complaints.length === 0 ? 0 : 1;
}

/** The appliance's own boot server is not among them. */
async function networkReport(config: UpConfig, signal: AbortSignal): Promise<Omit<NetworkReport, "interface">> {
  const heard = await askLan(config, { address: await ownAddress(config), signal });
  const { problems, warnings } = lanVerdict(config, heard);
  const where = `network ${config.interface}`;
  return {
    servers: "failed" in heard ? [] : heard,
    complaints: [
      ...problems.map((one): Complaint => ({ where, level: "error", ...one })),
      ...warnings.map((one): Complaint => ({ where, level: "warning", ...one })),
    ],
  };
}

async function doctor(call: Invocation): Promise<number> {
  const { cli } = call;
  const complaints = [...(await localComplaints(call)), ...(await clusterComplaints(call))];
  answer(cli, complaints, () => {
    if (complaints.length === 0) cli.print("nothing is wrong");
    printComplaints(call, complaints);
  });
  return complaints.length === 0 ? 0 : 1;
}

function printComplaints({ cli }: Invocation, complaints: readonly Complaint[]): void {
  for (const { where, level, what, evidence, todo } of complaints) {
    cli.print(`${paint(`${level}:`, level === "error" ? "red" : "yellow", cli.colour.out)} ${where}: ${plain(what)}`);
    if (evidence) cli.print(`  seen: ${plain(evidence)}`);
    if (todo) cli.print(`  do:   ${plain(todo)}`);
  }
}

async function localComplaints(call: Invocation): Promise<Complaint[]> {
  const { cli } = call;
  if (isPacked) {
    if (["state", "config"].some((flag) => call.text(flag) !== undefined) || call.on("local"))
      throw needsClone("looking at an appliance's own machine");
    cli.say("only the cluster is looked at; what is wrong on the appliance's own machine, `doctor` there says");
    return [];
  }
  const config = await settingsHere(call);
  const here = await stat(config.stateDir).then(
    () => true,
    () => false,
  );
  if (!here && !call.on("local")) {
    cli.say(
      `no appliance has its state in ${config.stateDir}, and none runs on this machine; only the cluster is looked at (another state folder: --state DIR; whether one could start here: --local)`,
    );
    return [];
  }
  const machine = (await onPath("ip", cli.env))
    ? { links: await ownLinks(), address: await ownAddress(config).catch(noAddress) }
    : undefined;
  const list = parts({
    config,
    address: machine?.address || "127.0.0.1",
    treeDir: treeFile(""),
    node: process.execPath,
    registrySecret: "",
    hostname: "appliance",
  });
  const problems = [
    ...(machine === undefined ? [] : settingsProblems(config, machine)),
    ...(await findProblems(config, list, cli.env)),
  ];
  const found: Complaint[] = problems.map(({ what, todo }) => ({ where: "this machine", level: "error", what, todo }));
  // Asking takes a port of root's; who is not root is told of the rest.
  const asks = config.interface !== "" && machine?.address && process.getuid?.() === 0;
  return asks ? [...found, ...(await networkReport(config, cli.signal)).complaints] : found;
}

/** The interface that machines boot on is gone: found again among what is wrong with the settings. */
function noAddress(error: unknown): string {
  if (!isFault(error, "invalid")) throw error;
  return "";
}

/**
 * Of the appliance to look at: the one whose state is named; else the one that runs here, wherever its state is; else the default. What its
 * last start was told is not asked for again.
 */
async function settingsHere(call: Invocation): Promise<UpConfig> {
  const { text, on, cli } = call;
  const { configOf } = await import("../up/configure.ts");
  const given = configOf(call);
  if (text("config") !== undefined && on("local")) return given; // whether it could start so
  const named = ["state", "config"].some((flag) => text(flag) !== undefined) || Boolean(cli.env["FLYNN_UP_STATE_DIR"]);
  const running = named ? undefined : await stateDirAtPort(given.port);
  const stateDir = running ?? given.stateDir;
  if (stateDir !== given.stateDir) cli.say(`the appliance that runs here has its state in ${stateDir}`);
  return { ...given, ...(await keptSettings(stateDir)), stateDir };
}

async function clusterComplaints(call: Invocation): Promise<Complaint[]> {
  try {
    return await withCluster(call, (client) => inCluster(client, call.cli.signal));
  } catch (error) {
    if (!isFault(error, "unavailable") && !isFault(error, "not-found")) throw error;
    return [{ where: "cluster", level: "error", what: error.message, todo: "" }];
  }
}

async function inCluster(client: Client, signal: AbortSignal): Promise<Complaint[]> {
  const [status, machines, stack] = await Promise.all([
    client.call(getStatus, { signal }),
    listAll(client, listMachines, { signal }),
    client.call(getStack, { signal }).catch((error: unknown) => {
      if (!isFault(error, "not-found")) throw error;
    }),
  ]);
  const found: Complaint[] = status.parts
    .filter(({ state }) => state !== "ok")
    .map(({ name, state, message }) => ({
      where: name,
      level: state === "down" ? "error" : "warning",
      what: `${state}: ${message}`,
      todo: partTodo(name),
    }));
  if (stack === undefined) found.push(NO_STACK);
  for (const { id, name, state } of machines) {
    if (state === "ready" || state === "rejected") continue;
    const { summary, findings } = await client.call(explainMachine, { params: { id }, signal });
    const where = `machine ${name}`;
    if (findings.length === 0 && state !== "booting") found.push({ where, level: "warning", what: summary, todo: "" });
    for (const { level, ...finding } of findings) found.push({ where, level, ...finding });
  }
  return found;
}
