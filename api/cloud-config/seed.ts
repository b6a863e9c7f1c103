// The NoCloud seed of one boot: what cloud-init fetches, in its order network-config (404 is fine), meta-data, user-data,
// vendor-data. The user-data carries the one secret, a join grant that is good once, and what a profile adds of its own (own.ts).
// The boot server serves it; control shows what it would be.
import type { BootMachine, BootTarget, DiskPolicy, Install, Secrets } from "../boot.ts";
import type { WipeOrder } from "../disks.ts";
import type { HostSeed } from "../members.ts";
import { renderCloudConfig, renderYaml } from "./document.ts";
import { merged } from "./merge.ts";
import { readOwn } from "./own.ts";

export interface SeedInput {
  bootId: string;
  machineId: string;
  hostname: string;
  tags: Record<string, string>;
  diskPolicy: DiskPolicy;
  wipeOrder?: WipeOrder | undefined;
  /** Fingerprints of disks that are to be wiped. */
  givenUp?: readonly string[] | undefined;
  install?: Install | undefined;
  secrets?: Secrets | undefined;
  sshKeys: readonly string[];
  /** The profile's own cloud-config. */
  own?: string | undefined;
  controlUrls: readonly string[];
  caPem: string;
  joinToken: string;
  requireTpm?: boolean | undefined;
}

export const SEED_FILES = ["meta-data", "user-data", "vendor-data", "network-config"] as const;
export type SeedFile = (typeof SEED_FILES)[number];

/** RAM boots are first boots: the instance id is the boot's. `dsmode` keeps old cloud-init from dropping a network seed. */
export function metaData({ bootId, hostname }: Pick<SeedInput, "bootId" | "hostname">): string {
  return renderYaml({ "instance-id": `i-${bootId}`, "local-hostname": hostname, dsmode: "net" });
}

/** What a machine's seed is made of, but for its one secret. */
export function seedOf(
  { id, hostname, profile, tags, wipeOrder, givenUp }: Omit<BootMachine, "macs" | "target">,
  { controlUrls, caPem, requireTpm }: Pick<BootTarget, "controlUrls" | "caPem" | "requireTpm">,
  { bootId, joinToken }: { bootId: string; joinToken: string },
): SeedInput {
  const { diskPolicy, install, secrets, sshKeys, cloudConfig: own } = profile;
  const its = { ...profile.tags, ...tags };
  return {
    bootId,
    machineId: id,
    hostname,
    tags: its,
    diskPolicy,
    wipeOrder,
    ...(givenUp ? { givenUp } : {}),
    ...(install === undefined ? {} : { install }),
    secrets,
    sshKeys,
    own,
    controlUrls,
    caPem,
    joinToken,
    requireTpm,
  };
}

export function userData(input: SeedInput): string {
  const hostSeed: HostSeed = {
    controlUrls: [...input.controlUrls],
    caPem: input.caPem,
    joinToken: input.joinToken,
    machineId: input.machineId,
    bootId: input.bootId,
    hostname: input.hostname,
    tags: input.tags,
    diskPolicy: input.diskPolicy,
    ...(input.wipeOrder ? { wipeOrder: input.wipeOrder } : {}),
    ...(input.givenUp?.length ? { givenUp: [...input.givenUp] } : {}),
    ...(input.install === undefined ? {} : { install: input.install }),
    ...(input.secrets === undefined ? {} : { secrets: input.secrets }),
    ...(input.requireTpm ? { requireTpm: true } : {}),
  };
  const files = [
    {
      path: "/etc/flynn/hostd.json",
      content: `${JSON.stringify(hostSeed, null, 2)}\n`,
      permissions: "0600",
      owner: "root:root",
    },
  ];
  if (input.sshKeys.length > 0) {
    files.push({
      path: "/root/.ssh/authorized_keys",
      content: `${input.sshKeys.join("\n")}\n`,
      permissions: "0600",
      owner: "root:root",
    });
  }
  const ours = { write_files: files, runcmd: [["systemctl", "start", "--no-block", "flynn-hostd.service"]] };
  // Files of the user's come first: they are there when the agent starts, which is when hostd.json is. Commands come after ours.
  return renderCloudConfig(merged(ours, input.own === undefined ? {} : readOwn(input.own), ["runcmd"]));
}

/** cloud-init tells each of its stages to the timeline. */
export function vendorData({ base, token }: { base: string; token: string }): string {
  return renderCloudConfig({
    reporting: { flynn: { type: "webhook", endpoint: `${base}/p/${token}`, timeout: 5, retries: 2 } },
  });
}
