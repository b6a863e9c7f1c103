// Network cards that have a device behind them, and what is at the other end of their cables.

import type { InventoryReport } from "#api/inventory.ts";
import { exec } from "#lib/exec.ts";
import { neighbourOf } from "./lldp.ts";
import { bytesOf, linkOf, namesIn, textOf } from "./sysfs.ts";
import { cut, field, natural, told } from "./text.ts";
import { parseEthtool } from "./tools.ts";

type Nic = InventoryReport["nics"][number];

const NICS_MOST = 32;
const LLDP_MOST_BYTES = 64 * 1024;

export interface NicsOptions {
  sys: string;
  /** Of systemd-networkd: one file of frames for each link. */
  lldp: string;
  signal: AbortSignal;
}

export async function readNics({ sys, lldp, signal }: NicsOptions): Promise<Nic[]> {
  const root = `${sys}/class/net`;
  const names = await namesIn(root);
  const nics = await Promise.all(
    names.map(async (name): Promise<Nic | undefined> => {
      const at = `${root}/${name}`;
      if ((await namesIn(`${at}/device`)).length === 0) return undefined;
      const [address, carrier, speed, driver, index, printed] = await Promise.all([
        textOf(`${at}/address`),
        textOf(`${at}/carrier`),
        textOf(`${at}/speed`),
        linkOf(`${at}/device/driver`),
        textOf(`${at}/ifindex`),
        exec(["ethtool", "-i", name], { timeoutMs: 20_000, signal }).then(
          ({ stdout }) => stdout,
          () => "",
        ),
      ]);
      const frames =
        natural(index) === undefined ? undefined : await bytesOf(`${lldp}/${natural(index)}`, LLDP_MOST_BYTES);
      const mac = address !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(address) ? address : undefined;
      const mbps = natural(speed);
      return {
        name: cut(name, 32),
        ...field("mac", mac),
        ...field("driver", told(driver, 32)),
        ...field("firmware", parseEthtool(printed)),
        carrier: carrier === "1",
        ...field("speedMbps", mbps === 0 || mbps === 0xffffffff ? undefined : mbps),
        ...field("neighbour", frames && neighbourOf(frames)),
      };
    }),
  );
  return nics.filter((nic) => nic !== undefined).slice(0, NICS_MOST);
}
