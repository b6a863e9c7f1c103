// What goes into the DHCP decision and what comes out: shared by the decision (offer.ts) and the packets it makes (reply.ts).

import type { Network } from "#lib/ipv4.ts";
import type { BootFilesConfig } from "./boot-files.ts";
import type { Client } from "./classify.ts";
import type { LeaseView } from "./leases.ts";
import type { Loader, Rung } from "./loader.ts";
import type { Packet } from "./packet.ts";

/** `address`: ours on the boot interface: server identifier, next server, and host of every URL. */
export interface OfferConfig extends BootFilesConfig {
  mode: "full" | "proxy";
  network: Network;
  router: string | undefined;
  dns: readonly string[];
  ntp: readonly string[];
  domain: string | undefined;
  leaseMs: number;
  /** How long an address declined by a client stays unused. */
  quarantineMs: number;
}

/** What the DHCP side must know of a machine. */
export interface OfferMachine {
  /** False for a machine that was refused: it may have an address, and no boot file. */
  mayBoot: boolean;
  hostname?: string;
}

export interface OfferInput {
  packet: Packet;
  client: Client;
  /** The port the packet came to, and who sent it. */
  port: 67 | 4011;
  source: { address: string; port: number };
  machine: OfferMachine;
  leases: LeaseView;
  rung: Rung;
  /** Which loader firmware is to start; the first there is without. */
  loader?: Loader | undefined;
  config: OfferConfig;
  nowMs: number;
}

export interface Reply {
  packet: Packet;
  from: 67 | 4011;
  to: { address: string; port: number };
}
