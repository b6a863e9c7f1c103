// doctor: what is wrong here and in the cluster, and what to do about each.
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { explainMachine, listMachines } from "#api/machines.ts";
import { getStack } from "#api/stack.ts";
import { getStatus } from "#api/status.ts";
import type { Command, Invocation } from "../command.ts";
import { listAll, withCluster } from "../connect.ts";
import { type Complaint, NO_STACK, partTodo } from "../doctor.ts";
import { answer } from "../output/answer.ts";
import { paint, plain } from "../output/text.ts";
import { ownAddress } from "../up/address.ts";
import { findProblems } from "../up/checks.ts";
import { parts } from "../up/parts.ts";

export const doctorCommands: readonly Command[] = [
  {
    words: "doctor",
    summary: "Look for what is wrong, on this machine and in the cluster, and say what to do",
    more: "Exit code 1 when something was found. This machine is looked at when it has an appliance's state, or with --local.",
    flags: [
      { name: "local", help: "Check whether `flynn up` could start on this machine" },
      { name: "state", value: "DIR", help: "State directory of the appliance" },
      { name: "config", value: "FILE", help: "Config file of the appliance" },
    ],
    run: doctor,
  },
];

async function doctor(call: Invocation): Promise<number> {
  const { cli } = call;
  const complaints = [...(await localComplaints(call)), ...(await clusterComplaints(call))];
  answer(cli, complaints, () => {
    if (complaints.length === 0) cli.print("nothing is wrong");
    for (const { where, level, what, evidence, todo } of complaints) {
      cli.print(`${paint(`${level}:`, level === "error" ? "red" : "yellow", cli.colour.out)} ${where}: ${plain(what)}`);
      if (evidence) cli.print(`  seen: ${plain(evidence)}`);
      if (todo) cli.print(`  do:   ${plain(todo)}`);
    }
  });
  return complaints.length === 0 ? 0 : 1;
}

async function localComplaints(call: Invocation): Promise<Complaint[]> {
  const { cli } = call;
  const { configOf } = await import("../up/configure.ts");
  const config = configOf(call);
  const here = await stat(config.stateDir).then(
    () => true,
    () => false,
  );
  if (!here && !call.on("local")) {
    cli.say("no appliance was started on this machine; only the cluster is looked at (--local looks here too)");
    return [];
  }
  const list = parts({
    config,
    address: await ownAddress(config),
    treeDir: fileURLToPath(new URL("../..", import.meta.url)),
    node: process.execPath,
    registrySecret: "",
    hostname: "appliance",
  });
  const problems = await findProblems(config, list, cli.env);
  return problems.map(({ what, todo }) => ({ where: "this machine", level: "error", what, todo }));
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
