// The network drivers that an initrd must have, since without the card's driver there is no boot, and the firmware that a card is mute
// without. Checked against each initrd when it is made: what Debian's packages bring may change under us.
import type { Architecture } from "./recipe.ts";

/** Not in Debian's kernel of the image, so that no machine boots by them: ionic (AMD Pensando). */

/** Driver, and a file (or the folder) of firmware that it loads. */
export type Drivers = Readonly<Record<string, string | undefined>>;

export const driversOf = (architecture: Architecture): Drivers => ({ ...CARDS, ...OWN[architecture] });

/** On chips and mainboards of one architecture. */
const OWN: Readonly<Record<Architecture, Drivers>> = {
  amd64: { b44: undefined, forcedeth: undefined },
  arm64: {
    hns3: undefined, // HiSilicon Kunpeng
    hns_enet_drv: undefined,
    nicvf: undefined, // Cavium ThunderX
    "xgene-enet": undefined, // Ampere (Applied Micro) X-Gene
    "amd-xgbe": undefined,
    netsec: undefined, // Socionext SynQuacer
    mvneta: undefined, // Marvell Armada
    mvpp2: undefined,
    fec: undefined, // NXP i.MX, Layerscape
    "fsl-dpaa2-eth": undefined,
    "fsl-enetc": undefined,
    genet: undefined, // Raspberry Pi 4
    macb: undefined, // Raspberry Pi 5
    stmmac: undefined, // Rockchip, Amlogic, NVIDIA Tegra
  },
};

/** Of servers, of virtual machines, and of the small ones in labs. */
const CARDS: Drivers = {
  // Intel
  e100: "e100",
  e1000: undefined,
  e1000e: undefined,
  igb: undefined,
  igbvf: undefined,
  igc: undefined,
  ixgbe: undefined,
  ixgbevf: undefined,
  i40e: undefined,
  iavf: undefined,
  ice: "intel/ice/ddp",
  // Broadcom
  bnx2: "bnx2",
  bnx2x: "bnx2x",
  bnxt_en: undefined,
  tg3: "tigon",
  // NVIDIA (Mellanox)
  mlx4_core: undefined,
  mlx4_en: undefined,
  mlx5_core: undefined,
  // Marvell (QLogic, Brocade, Aquantia), Cavium
  qede: "qed",
  qlcnic: undefined,
  netxen_nic: "phanfw.bin",
  bna: "ctfw-3.2.5.1.bin",
  atlantic: undefined,
  sky2: undefined,
  liquidio: "liquidio",
  // others of servers
  sfc: undefined,
  cxgb3: "cxgb3",
  cxgb4: "cxgb4",
  enic: undefined,
  be2net: undefined,
  nfp: "netronome",
  hinic: undefined,
  // mainboards and USB
  r8169: "rtl_nic",
  "8139too": undefined,
  alx: undefined,
  atl1c: undefined,
  jme: undefined,
  r8152: undefined,
  ax88179_178a: undefined,
  // virtual machines and clouds
  virtio_net: undefined,
  vmxnet3: undefined,
  hv_netvsc: undefined,
  ena: undefined,
  gve: undefined,
  pcnet32: undefined,
};

/** What of the table is not among an initrd's paths, in words; nothing when all is there. Pure. */
export function missingDrivers(paths: readonly string[], table: Drivers): string[] {
  const modules = new Set(paths.flatMap((path) => /\/kernel\/.*\/([^/]+)\.ko(?:\.\w+)?$/.exec(path)?.[1] ?? []));
  const has = (firmware: string) =>
    paths.some((path) => path.includes(`lib/firmware/${firmware}/`) || path.endsWith(`lib/firmware/${firmware}`));
  return Object.entries(table).flatMap(([driver, firmware]) => {
    if (!modules.has(driver.replaceAll("-", "_")) && !modules.has(driver)) return [`no driver ${driver}`];
    return firmware === undefined || has(firmware) ? [] : [`no firmware ${firmware} of ${driver}`];
  });
}
