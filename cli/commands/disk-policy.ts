// A disk policy as people write it: flags of `profile set`, and of `machine disks`, which shows what one would do.
import type { DiskPolicy } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { formatSize, parseSize } from "#lib/units.ts";
import type { Flag, Invocation } from "../parse/command.ts";

const DEFAULT_LEAST_BYTES = 1024 ** 3;

export const DISK_FLAGS: readonly Flag[] = [
  {
    name: "disk",
    value: "POLICY",
    help: "ram: write no disk. find-empty: one of which every byte is zero. named: the one of --disk-..., on that condition",
  },
  { name: "disk-serial", value: "TEXT", help: "Disk of policy `named`, by serial number" },
  { name: "disk-wwn", value: "TEXT", help: "... by World Wide Name" },
  { name: "disk-path", value: "PATH", help: "... by path, also one below /dev/disk" },
  {
    name: "disk-verify",
    value: "HOW",
    help: "all: a disk is empty when every byte of it is zero. ends: by its ends and samples; other data on it is LOST",
  },
  { name: "min-disk", value: "SIZE", help: "Smallest disk to take, such as 100GiB" },
  { name: "max-disk", value: "SIZE", help: "Largest disk to take; `any`: no limit" },
  { name: "disk-prefer", value: "WHICH", help: "Of several empty ones: largest (unless given) or smallest" },
  { name: "disk-transport", value: "WORD", help: "Only disks attached so: nvme, sata, sas ...; `any`: all" },
  { name: "disk-media", value: "KIND", help: "Only ssd or hdd, as the kernel says; `any`: all" },
];

/** What is given, over what was before. */
export function diskPolicy({ text }: Pick<Invocation, "text">, before: DiskPolicy): DiskPolicy {
  const mode = text("disk");
  const [serial, wwn, path] = [text("disk-serial"), text("disk-wwn"), text("disk-path")];
  const verify = text("disk-verify");
  if (verify !== undefined && verify !== "all" && verify !== "ends")
    throw new Fault("invalid", `--disk-verify ${verify}: it is all (every byte is read) or ends`);
  if (verify !== undefined && (mode ?? before.mode) === "ram")
    throw new Fault("invalid", "--disk-verify goes with --disk find-empty or --disk named");
  const named = serial !== undefined || wwn !== undefined || path !== undefined;
  const which = narrowed({ text });
  if (mode === undefined) {
    if (named) throw new Fault("invalid", "--disk-serial, --disk-wwn and --disk-path go with --disk named");
    if (Object.keys(which).length > 0 && before.mode === "ram")
      throw new Fault("invalid", "what a disk must be like goes with --disk find-empty or --disk named");
    return without({ ...before, ...which, ...(verify === undefined ? {} : { verify }) });
  }
  if (mode !== "ram" && mode !== "find-empty" && mode !== "named")
    throw new Fault("invalid", `--disk ${mode}: a policy is ram, find-empty or named`);
  if ((mode === "named") !== named)
    throw new Fault(
      "invalid",
      "--disk named needs one of --disk-serial, --disk-wwn and --disk-path, and only it takes them",
    );
  if (mode === "ram") return { name: "ram-only", mode };
  return without({
    name: mode,
    mode,
    ...(serial === undefined ? {} : { serial }),
    ...(wwn === undefined ? {} : { wwn }),
    ...(path === undefined ? {} : { path }),
    minSizeBytes: before.minSizeBytes ?? DEFAULT_LEAST_BYTES,
    ...which,
    // Never kept from before: another policy begins with the safe way.
    ...(verify === undefined ? {} : { verify }),
  });
}

type Narrowed = Partial<Pick<DiskPolicy, "minSizeBytes" | "maxSizeBytes" | "prefer" | "transport" | "media">>;

/** A word `any` leaves the field there with nothing in it, so that it replaces what was before. */
function narrowed({ text }: Pick<Invocation, "text">): { [K in keyof Narrowed]: Narrowed[K] | undefined } {
  const size = (flag: string, example: string): number | undefined => {
    const word = text(flag)!;
    const bytes = parseSize(word);
    if (bytes === undefined) throw new Fault("invalid", `--${flag} ${word}: write a size such as ${example}`);
    return bytes;
  };
  const [most, prefer, transport, media] = [
    text("max-disk"),
    text("disk-prefer"),
    text("disk-transport"),
    text("disk-media"),
  ];
  if (prefer !== undefined && prefer !== "largest" && prefer !== "smallest")
    throw new Fault("invalid", `--disk-prefer ${prefer}: it is largest or smallest`);
  if (media !== undefined && media !== "ssd" && media !== "hdd" && media !== "any")
    throw new Fault("invalid", `--disk-media ${media}: it is ssd, hdd or any`);
  return {
    ...(text("min-disk") === undefined ? {} : { minSizeBytes: size("min-disk", "100GiB") }),
    ...(most === undefined ? {} : { maxSizeBytes: most === "any" ? undefined : size("max-disk", "2TiB") }),
    ...(prefer === undefined ? {} : { prefer }),
    ...(transport === undefined ? {} : { transport: transport === "any" ? undefined : transport.toLowerCase() }),
    ...(media === undefined ? {} : { media: media === "any" ? undefined : media }),
  };
}

/** Fields with nothing in them are none. */
const without = (policy: { [K in keyof DiskPolicy]: DiskPolicy[K] | undefined }): DiskPolicy =>
  Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined)) as DiskPolicy;

export const diskText = (policy: DiskPolicy): string => {
  const { name, mode, serial, wwn, path, verify, minSizeBytes, maxSizeBytes, prefer, transport, media } = policy;
  const least =
    minSizeBytes === undefined || minSizeBytes === DEFAULT_LEAST_BYTES ? "" : `from ${formatSize(minSizeBytes)}`;
  return [
    name === mode ? mode : `${mode} (${name})`,
    serial,
    wwn,
    path,
    transport,
    media,
    mode === "ram" ? "" : least,
    maxSizeBytes === undefined ? "" : `up to ${formatSize(maxSizeBytes)}`,
    prefer === "smallest" ? "the smallest" : "",
    verify === "ends" ? "(reads the ends alone)" : "",
  ]
    .filter(Boolean)
    .join(" ");
};
