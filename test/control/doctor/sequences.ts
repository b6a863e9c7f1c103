// Recorded boots: a whole good one as the boot server, control and the agent record it, and every stall as a part of it with what was
// recorded instead of the next step.
import type { BootCode } from "#api/boot-codes.ts";
import type { Machine, Stage, TimelineEvent } from "#api/machines.ts";
import type { Circumstances } from "../../../control/doctor/boot.ts";

export const NOW = new Date("2026-01-01T12:00:00.000Z");
export type Detail = Record<string, string | number>;
/** Seconds after its beginning, as a boot goes. */
type Step = readonly [at: number, stage: Stage, message: string, detail?: Detail, bootId?: string];

const PXE = { kind: "pxe" };
const IPXE = { kind: "ipxe" };
const ADDRESS = "10.77.0.50";

/** Power-on to ready, in full mode, by UEFI PXE. */
export const GOOD: readonly Step[] = [
  [0, "discover", "firmware looks for a boot server", PXE],
  [0.1, "offer", "firmware was offered what to boot", { ...PXE, address: ADDRESS, file: "snponly.efi" }],
  [1, "offer", `firmware takes address ${ADDRESS}`, { ...PXE, code: "address-taken", address: ADDRESS }],
  [3, "tftp", "fetched snponly.efi: 170 KiB in 30ms", { file: "snponly.efi", bytes: 173_792, retransmits: 0 }],
  [5, "discover", "iPXE looks for a boot server", IPXE],
  [5.1, "offer", "iPXE was offered what to boot", { ...IPXE, address: ADDRESS }],
  [6, "offer", `iPXE takes address ${ADDRESS}`, { ...IPXE, code: "address-taken", address: ADDRESS }],
  [7, "script", "given boot image img1", { address: ADDRESS }, "b1"],
  [7.2, "script", "iPXE runs the boot script", { code: "ipxe-runs" }, "b1"],
  [9, "kernel", "fetched vmlinuz: 8 MiB in 1s", { bytes: 8_388_608, ms: 1_000 }, "b1"],
  [12, "initrd", "fetched initrd: 20 MiB in 2s", { bytes: 20_971_520, ms: 2_000 }, "b1"],
  [40, "squashfs", "fetched root.squashfs: 160 MiB in 9s", { bytes: 167_772_160, ms: 9_000 }, "b1"],
  [70, "seed", "cloud-init fetched its seed", { address: ADDRESS }, "b1"],
  [75, "cloud-init", "cloud-init modules-final is done", { name: "modules-final" }, "b1"],
  [95, "join", "its agent joined as host node-1 (100.64.1.0/24)", undefined, "b1"],
  [97, "disk", "state on /dev/vda (20 GiB), this host's from before (policy find-empty)", undefined, "b1"],
  [99, "docker", "Docker 20.10.24 is up", undefined, "b1"],
  [100, "ready", "host node-1 is ready for jobs (Docker 20.10.24)", undefined, "b1"],
];
/** The steps of it, by name, for `upTo`. */
export const STEPS = [
  "discover",
  "offer",
  "taken",
  "tftp",
  "ipxe-discover",
  "ipxe-offer",
  "ipxe-taken",
  "given",
  "runs",
  "kernel",
  "initrd",
  "squashfs",
  "seed",
  "cloud-init",
  "join",
  "disk",
  "docker",
  "ready",
] as const;

export interface Sequence {
  /** The rule that says what it is. */
  rule: string;
  /** How far the good boot went. */
  upTo?: (typeof STEPS)[number];
  /** Of the good boot's steps, other words or details. */
  instead?: Partial<Record<(typeof STEPS)[number], Detail>>;
  /** What was recorded then, seconds after the one before. */
  next?: readonly {
    after?: number;
    stage: Stage;
    level?: "warning" | "error";
    message?: string;
    detail?: Detail;
    bootId?: string;
  }[];
  /** How long ago the last of it was. */
  silentS?: number;
  machine?: Partial<Machine>;
  circumstances?: Partial<Circumstances>;
}

const told = (
  code: BootCode,
  upTo: Sequence["upTo"],
  stage: Stage,
  detail: Detail = {},
  more: Partial<Sequence> & { message?: string; level?: "warning" | "error" | undefined; id?: string } = {},
): Sequence => {
  const { message = `what was recorded of ${code}`, level = "warning", id = code, ...rest } = more;
  return { rule: id, upTo, next: [{ stage, level, message, detail: { code, ...detail } }], ...rest };
};
const half = (stage: Stage, upTo: Sequence["upTo"], bytes: number, sizeBytes: number): Sequence =>
  told("transfer-stopped", upTo, stage, { bytes, sizeBytes }, { id: `${stage}-half` });
const BIOS = { machine: { identity: { mac: "52:54:00:00:00:01", firmware: "bios" } } } satisfies Partial<Sequence>;
const DISCOVER = { stage: "discover", message: "firmware looks for a boot server", detail: PXE } as const;
const OFFER = {
  stage: "offer",
  after: 0.1,
  message: "firmware was offered what to boot",
  detail: { ...PXE, address: ADDRESS, file: "snponly.efi" },
} as const;
const PROXY = { offer: { ...PXE, file: "snponly.efi" }, taken: { ...PXE, code: "address-taken", server: "10.77.0.9" } };
const boot = (n: number) =>
  [
    { ...DISCOVER, after: 60 },
    OFFER,
    { stage: "script", after: 7, message: "given boot image img1", detail: { address: ADDRESS }, bootId: `b${n}` },
    { stage: "kernel", after: 2, message: "fetched vmlinuz: 8 MiB in 1s", detail: { bytes: 1 }, bootId: `b${n}` },
  ] as const;
const ON = { stage: "power", message: "switched on", detail: { code: "power-on" } } as const;
const OVERRIDE = { stage: "power", message: "next boot set to PXE, once", detail: { code: "override-set" } } as const;

export const SEQUENCES: readonly Sequence[] = [
  // power
  told(
    "bmc-password",
    undefined,
    "power",
    {},
    { message: "BMC 10.1.0.5 refuses the password of admin", level: "error" },
  ),
  told(
    "bmc-unreachable",
    undefined,
    "power",
    {},
    { message: "BMC 10.1.0.5 does not answer within 30s", level: "error" },
  ),
  told(
    "power-ignored",
    undefined,
    "power",
    {},
    { message: "told to switch on, and it still says Off", level: "error" },
  ),
  told("wol-only", undefined, "order", {}, { message: "power-off needs a BMC", level: "error" }),
  told("override-ignored", "ready", "power", { override: "the network" }, { message: "it booted its disk" }),
  {
    rule: "override-ignored-seen",
    upTo: "ready",
    next: [OVERRIDE, ON, { stage: "join", after: 200, message: "its agent joined as host node-1" }],
  },
  { rule: "override-then-silent", upTo: "ready", next: [OVERRIDE, ON], silentS: 400 },
  { rule: "silent-after-power", next: [ON], silentS: 400 },
  // DHCP
  { rule: "discover-unanswered", upTo: "discover", silentS: 60 },
  { rule: "offer-left", upTo: "offer", silentS: 60 },
  { rule: "no-address", upTo: "offer", instead: PROXY, silentS: 60 },
  { rule: "tftp-never-begun", upTo: "taken", silentS: 60 },
  { rule: "offer-ignored", upTo: "taken", instead: PROXY, silentS: 60 },
  {
    rule: "4011-never-asked",
    upTo: "taken",
    instead: PROXY,
    next: [
      { stage: "offer", message: "firmware is shown the offer of port 4011 alone", detail: { code: "rung", rung: 2 } },
    ],
    silentS: 60,
  },
  {
    rule: "4011-answered",
    upTo: "taken",
    instead: PROXY,
    next: [
      {
        stage: "offer",
        message: "firmware asked port 4011 and was told what to boot",
        detail: { ...PXE, code: "boot-server-asked" },
      },
    ],
    silentS: 60,
  },
  {
    rule: "boot-server-again",
    upTo: "taken",
    instead: PROXY,
    next: [
      { stage: "offer", message: "firmware asked port 4011", detail: { ...PXE, code: "boot-server-asked" } },
      { stage: "offer", level: "warning", message: "again", detail: { ...PXE, code: "boot-server-again", asked: 3 } },
    ],
  },
  {
    rule: "http-never-begun",
    upTo: "taken",
    instead: {
      discover: { kind: "http" },
      offer: { kind: "http", address: ADDRESS },
      taken: { kind: "http", code: "address-taken", address: ADDRESS },
    },
    silentS: 60,
  },
  { rule: "ipxe-no-script", upTo: "ipxe-taken", silentS: 60 },
  told("other-server", "offer", "note", { server: "10.77.0.9" }),
  told("rogue-server", "offer", "note", { server: "10.77.0.8", card: "52:54:00:00:00:08" }),
  told("pool-empty", undefined, "note"),
  told("nak", undefined, "note", { why: "bound to another address" }),
  told("wrong-network", undefined, "note", {}, { message: "relay 10.88.0.1 is of a network we have no addresses for" }),
  told("declined", "offer", "note", { why: "10.77.0.50 is in use by somebody else" }, { instead: { offer: PXE } }),
  told("late-link", "discover", "discover", { secs: 28 }),
  told("no-boot-file", undefined, "note", { architecture: "mips64" }, { message: "firmware is MIPS 64-bit UEFI" }),
  // fetch
  told("tftp-unanswered", "taken", "tftp", { file: "snponly.efi", block: 0, blocks: 119 }),
  told("tftp-stalled", "taken", "tftp", { file: "snponly.efi", block: 40, blocks: 119 }),
  told("tftp-loss", "taken", "tftp", { file: "snponly.efi", block: 40, blocks: 119, retransmits: 61 }),
  told("tftp-broken-off", "taken", "tftp", { file: "snponly.efi", error: "error 3 disk full" }),
  told("http-broken-off", "taken", "tftp", { file: "snponly.efi" }),
  {
    rule: "tftp-unknown-file",
    upTo: "taken",
    next: [
      {
        stage: "note",
        message: "asked for pxelinux.0, which is not served",
        detail: { code: "tftp-unknown-file", file: "pxelinux.0" },
      },
    ],
  },
  {
    rule: "ipxe-without-http",
    upTo: "tftp",
    next: [
      {
        ...DISCOVER,
        message: "iPXE without HTTP looks for a boot server",
        detail: { ...PXE, code: "ipxe-without-http" },
      },
    ],
  },
  told("loader-refused", "tftp", "note", { loader: "ipxe", next: "shim" }),
  { rule: "secure-boot", upTo: "tftp", next: [DISCOVER, OFFER] },
  { rule: "secure-boot-shim", upTo: "tftp", instead: { tftp: { file: "shimx64.efi" } }, next: [DISCOVER, OFFER] },
  { rule: "bios-began-anew", upTo: "tftp", ...BIOS, next: [DISCOVER, OFFER] },
  { rule: "ipxe-not-run", upTo: "tftp", silentS: 60 },
  { rule: "shim-alone", upTo: "tftp", instead: { tftp: { file: "shimx64.efi" } }, silentS: 60 },
  { rule: "ipxe-no-link", upTo: "tftp", ...BIOS, silentS: 60 },
  // script
  told("not-its-card", "ipxe-taken", "refused", {}, { message: "somebody asked to boot as card 52:54:00:00:00:01" }),
  told("target-unknown", "ipxe-taken", "note", {}, { level: undefined }),
  told("waits-turn", "ipxe-taken", "note", { loading: 48 }, { level: undefined }),
  told("no-image", "ipxe-taken", "note", {}, { level: undefined }),
  told("no-image-for-architecture", "ipxe-taken", "note", { architecture: "riscv64" }),
  told(
    "image-not-servable",
    "ipxe-taken",
    "note",
    {},
    { message: "boot image img1 cannot be served: initrd is missing" },
  ),
  told("kernel-word", "ipxe-taken", "note", {}, { message: '"a b" cannot stand in a kernel command line' }),
  told("cloud-config", "ipxe-taken", "note", {}, { message: "profile default: runcmd is not a list" }),
  {
    rule: "approved-silent",
    upTo: "ipxe-taken",
    next: [{ stage: "approved", message: "approved by admin" }],
    silentS: 90,
  },
  {
    rule: "wait-ended",
    upTo: "ipxe-taken",
    next: [{ stage: "wait-approval", message: "waiting for approval", detail: { code: "waits-for-approval" } }],
    silentS: 90,
  },
  { rule: "script-not-run", upTo: "given", silentS: 90 },
  { rule: "script-no-kernel", upTo: "runs", silentS: 90 },
  {
    rule: "own-disk-silent",
    upTo: "ipxe-taken",
    next: [{ stage: "script", message: "told to boot its own disk", detail: { code: "own-disk" } }],
    silentS: 400,
  },
  told("ipxe-failed", "initrd", "boot-failed", {}, { level: "error" }),
  // image
  half("kernel", "runs", 1_048_576, 8_388_608),
  half("initrd", "kernel", 5_242_880, 20_971_520),
  half("squashfs", "initrd", 94_371_840, 167_772_160),
  told(
    "initrd-memory",
    "initrd",
    "boot-failed",
    { refusal: "memory" },
    { message: "this image needs 1024 MiB", level: "error" },
  ),
  told(
    "initrd-no-port",
    "initrd",
    "boot-failed",
    { refusal: "network" },
    { message: "no network port was found", level: "error" },
  ),
  told(
    "initrd-no-address",
    "initrd",
    "boot-failed",
    { refusal: "network" },
    { message: "no DHCP answer on eth0", level: "error" },
  ),
  told(
    "initrd-fetch",
    "initrd",
    "boot-failed",
    { refusal: "fetch" },
    { message: "could not be fetched", level: "error" },
  ),
  told("initrd-hash", "initrd", "boot-failed", { refusal: "image" }, { message: "not the one", level: "error" }),
  told(
    "initrd-image",
    "initrd",
    "boot-failed",
    { refusal: "image" },
    { message: "does not say which", level: "error" },
  ),
  { rule: "kernel-alone", upTo: "kernel", silentS: 200 },
  { rule: "initrd-silent", upTo: "initrd", silentS: 300 },
  { rule: "squashfs-silent", upTo: "squashfs", silentS: 300 },
  // join
  told("token-other-card", "squashfs", "token-refused", {}, { message: "used from 10.77.0.66, given to 10.77.0.50" }),
  told("token-joined", "squashfs", "token-refused"),
  told("token-expired", "squashfs", "token-refused"),
  told("token-superseded", "squashfs", "token-refused"),
  told("token-machine-gone", "squashfs", "token-refused"),
  told("cloud-init-failed", "seed", "cloud-init", {
    name: "modules-config/config-runcmd",
    result: "FAIL",
    description: "exit 1",
  }),
  told("agent-unreachable", "cloud-init", "note", {}, { message: "connect ECONNREFUSED 10.77.0.1:7777" }),
  told("agent-clock", "cloud-init", "note", {}, { message: "certificate is not yet valid" }),
  told("agent-certificate", "cloud-init", "note", {}, { message: "unable to verify the first certificate" }),
  told("agent-version", "cloud-init", "note", {}, { message: "control 0.3 needs hostd 0.2 or newer" }),
  told("agent-refused", "cloud-init", "note", {}, { message: "the join token has expired" }),
  told("join-withheld", "cloud-init", "token-refused", {}, { message: "two live sessions of machine node-1" }),
  told("join-waits", "cloud-init", "note"),
  told("join-replayed", "cloud-init", "token-refused"),
  told("join-refused", "cloud-init", "token-refused", {}, { message: "machine node-1 is not approved" }),
  told(
    "join-tpm",
    "cloud-init",
    "token-refused",
    {},
    { message: "somebody with TPM 0a1b asks to join as machine node-1" },
  ),
  {
    rule: "agent-incompatible",
    upTo: "join",
    circumstances: { agentRefusal: "hostd 0.1.0 is too old for this control" },
  },
  { rule: "engine-down", upTo: "disk", circumstances: { engineReason: "dockerd: no space left on device" } },
  { rule: "seed-silent", upTo: "seed", silentS: 200 },
  { rule: "cloud-init-silent", upTo: "cloud-init", silentS: 200 },
  { rule: "join-silent", upTo: "join", silentS: 200 },
  { rule: "disk-silent", upTo: "disk", silentS: 200 },
  { rule: "docker-silent", upTo: "docker", silentS: 200 },
  // life
  told(
    "loop-guard",
    "runs",
    "fallback",
    { boots: 5, image: "img2" },
    { message: "5 boots of img2 ended before ready", level: "error" },
  ),
  { rule: "boot-loop", upTo: "initrd", next: [...boot(2), ...boot(3)] },
  { rule: "restarted-midway", upTo: "initrd", next: [{ ...DISCOVER, after: 40 }, OFFER] },
  {
    rule: "duplicate-uuid",
    upTo: "ipxe-taken",
    next: [{ stage: "wait-approval", message: "waiting for approval", detail: { code: "waits-for-approval" } }],
    machine: { state: "discovered" },
    circumstances: { sameUuid: ["node-7"] },
  },
];

/** The events of a sequence as a timeline has them. */
export function timelineOf({ upTo, instead = {}, next = [], silentS = 5 }: Sequence): TimelineEvent[] {
  const good = GOOD.slice(0, upTo === undefined ? 0 : STEPS.indexOf(upTo) + 1);
  let at = good.at(-1)?.[0] ?? 0;
  const steps = [
    ...good.map(([seconds, stage, message, detail, bootId], n) => ({
      ...{ seconds, stage, message, bootId, level: "info" as const },
      detail: instead[STEPS[n]!] ?? detail,
    })),
    ...next.map(({ after = 2, stage, message = `${stage} happened`, detail, level = "info", bootId }) => {
      at += after;
      return { seconds: at, stage, message, detail, level, bootId };
    }),
  ];
  return steps.map(({ seconds, ...step }, n) => ({
    ...step,
    seq: n + 1,
    machineId: "m1",
    at: new Date(NOW.getTime() - (at - seconds + silentS) * 1_000).toISOString(),
  })) as TimelineEvent[];
}

export const machineOf = ({ machine = {} }: Pick<Sequence, "machine">): Machine =>
  ({
    id: "m1",
    name: "node-1",
    state: "booting",
    reason: "",
    identity: { mac: "52:54:00:00:00:01", firmware: "uefi", architecture: "x86_64" },
    ...machine,
  }) as unknown as Machine;

export const circumstancesFor = ({ circumstances = {} }: Pick<Sequence, "circumstances">): Circumstances => ({
  now: NOW,
  bootServers: 1,
  ...circumstances,
});
