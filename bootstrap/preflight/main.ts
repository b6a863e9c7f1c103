// `main.ts --interface IFACE --address IP`: asks that LAN which DHCP servers answer there, and prints them as JSON. For `flynn up`
// and `flynn doctor network`, which are no part of the boot server.
import { parseArgs } from "node:util";
import { Fault } from "#api/fault.ts";
import { run } from "#lib/run.ts";
import { askLan } from "./probe.ts";

run(async (signal) => {
  const { values } = parseArgs({ options: { interface: { type: "string" }, address: { type: "string" } } });
  const { interface: name, address } = values;
  if (name === undefined || address === undefined) throw new Fault("invalid", "--interface and --address are needed");
  process.stdout.write(`${JSON.stringify(await askLan({ interface: name, address, signal }))}\n`);
  return 0;
});
