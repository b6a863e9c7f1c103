// The hosts of a lab as machines that control knows, without booting any: a boot server joins, reports what it saw of each, an
// operator approves, and from then on it signs a join grant per boot, as the real one puts into a seed.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { signJoinGrant } from "#api/boot.ts";
import { type Appliance, joinToken } from "../appliance.ts";
import { macOf } from "../network.ts";
import type { Scope } from "../scope.ts";

export interface Joined {
  id: string;
  machines: { mac: string; machineId: string }[];
}

/** One source of grants for each of h1, h2, ... */
export async function machineGrants(
  scope: Scope,
  appliance: Appliance,
  count: number,
): Promise<(() => Promise<string>)[]> {
  const directory = join(scope.folder, "boot-server");
  const macs = Array.from({ length: count }, (_, n) => macOf(`10.77.0.${11 + n}`));
  const order = {
    directory,
    macs,
    url: `https://${appliance.address}:7777`,
    caFile: join(appliance.stateDir, "control/pki/ca.pem"),
    token: await joinToken(appliance, "boot"),
  };
  const program = fileURLToPath(new URL("report-machines.ts", import.meta.url));
  const { stdout } = await appliance.lan.exec([process.execPath, program, JSON.stringify(order)]);
  const { id: bootServerId, machines } = JSON.parse(stdout) as Joined;
  const key = await readFile(join(directory, "key.pem"), "utf8");
  return Promise.all(
    macs.map(async (mac, n) => {
      const { machineId } = machines.find((machine) => machine.mac === mac)!;
      const approved = await appliance.api("POST", `/v1/machines/${machineId}/approve`, { name: `h${n + 1}` });
      if (approved.status > 299) throw new Error(`approve ${mac}: ${JSON.stringify(approved.body)}`);
      return async () =>
        signJoinGrant(
          {
            bootServerId,
            machineId,
            mac,
            bootId: randomUUID(),
            expiresAtMs: Date.now() + 600_000,
            nonce: randomUUID(),
          },
          key,
        );
    }),
  );
}
