// The NoCloud seed of one boot: what cloud-init fetches, in its order network-config (404 is fine), meta-data, user-data,
// vendor-data. The user-data carries the one secret, a join grant that is good once.
import type { DiskPolicy, Secrets } from "#api/boot.ts";
import type { WipeOrder } from "#api/disks.ts";
import type { HostSeed } from "#api/members.ts";
import { renderCloudConfig, renderYaml } from "../cloud-config/document.ts";

export interface SeedInput {
  bootId: string;
  machineId: string;
  hostname: string;
  tags: Record<string, string>;
  diskPolicy: DiskPolicy;
  wipeOrder?: WipeOrder | undefined;
  secrets?: Secrets | undefined;
  sshKeys: readonly string[];
  controlUrls: readonly string[];
  caPem: string;
  joinToken: string;
}

export const SEED_FILES = ["meta-data", "user-data", "vendor-data", "network-config"] as const;
export type SeedFile = (typeof SEED_FILES)[number];

/** RAM boots are first boots: the instance id is the boot's. `dsmode` keeps old cloud-init from dropping a network seed. */
export function metaData({ bootId, hostname }: Pick<SeedInput, "bootId" | "hostname">): string {
  return renderYaml({ "instance-id": `i-${bootId}`, "local-hostname": hostname, dsmode: "net" });
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
    ...(input.secrets === undefined ? {} : { secrets: input.secrets }),
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
  return renderCloudConfig({
    write_files: files,
    runcmd: [["systemctl", "start", "--no-block", "flynn-hostd.service"]],
  });
}

/** cloud-init tells each of its stages to the timeline. */
export function vendorData({ base, token }: { base: string; token: string }): string {
  return renderCloudConfig({
    reporting: { flynn: { type: "webhook", endpoint: `${base}/p/${token}`, timeout: 5, retries: 2 } },
  });
}
