// The boot doctor: from a machine's timeline to a plain-words answer to "why is it not a host yet?". Pure.

import type { Static } from "typebox";
import { BOOTS_ONLY, type MachineIdentity, unbootable, unbootableTodo } from "#api/machine-identity.ts";
import type { Explanation, Machine, Pending, Stage, TimelineEvent } from "#api/machines.ts";
import { formatDuration } from "#lib/units.ts";

type Finding = Static<typeof Explanation>["findings"][number];

export interface Circumstances {
  now: Date;
  /** Boot servers that control hears. */
  bootServers: number;
  /** When its host was last heard, if ever. */
  hostSeenAt?: string;
}

interface Waiting {
  /** The newest boot step seen. */
  stage: Stage;
  /** Silence after it that is no longer ordinary, in milliseconds. */
  patienceMs: number;
  what: string;
  todo: string | ((identity: MachineIdentity) => string);
}

/** After each step: what its absence of a successor means. */
const WAITING: Waiting[] = [
  {
    stage: "discover",
    patienceMs: 20_000,
    what: "it asked for an address and got no offer from us",
    todo: "look for a second DHCP server, or a switch port that comes up late (STP: set the port to edge/portfast)",
  },
  {
    stage: "offer",
    patienceMs: 30_000,
    what: "it was offered a boot file and fetched nothing",
    todo: "its firmware may have taken another server's offer, or UDP 69 is filtered; check that network boot is first in its boot order",
  },
  {
    stage: "tftp",
    patienceMs: 30_000,
    what: "it fetched iPXE and did not come back for a script",
    todo: ({ firmware }) =>
      firmware === "bios"
        ? "iPXE may have no driver for this network card; look at its console"
        : "Secure Boot may have refused iPXE (its console says Access Denied or Security Violation): switch Secure Boot off in its setup; else iPXE may have no driver for this network card",
  },
  {
    stage: "wait-approval",
    patienceMs: 0,
    what: "it waits on the network for approval",
    todo: "flynn machine approve",
  },
  {
    stage: "approved",
    patienceMs: 60_000,
    what: "it was approved and has not asked for its boot script since",
    todo: "it may have given up waiting; switch it off and on",
  },
  {
    stage: "script",
    patienceMs: 60_000,
    what: "it got its boot script and fetched no kernel",
    todo: "HTTP to the boot server may be filtered (TCP 7780); look at its console",
  },
  {
    stage: "kernel",
    patienceMs: 120_000,
    what: "it fetched the kernel and not the initrd",
    todo: "the transfer broke or it ran out of memory; look at its console",
  },
  {
    stage: "initrd",
    patienceMs: 180_000,
    what: "its kernel started and did not fetch the root image",
    todo: "the initrd may lack a driver for this network card, or the link comes up late",
  },
  {
    stage: "squashfs",
    patienceMs: 240_000,
    what: "it fetched the root image and cloud-init did not ask for its seed",
    todo: "too little memory for the image, or the root image failed its checksum; look at its console",
  },
  {
    stage: "seed",
    patienceMs: 180_000,
    what: "cloud-init got its seed and the agent did not join",
    todo: "the machine may not reach control (TCP 7777); look at its console for flynn-hostd",
  },
  {
    stage: "cloud-init",
    patienceMs: 180_000,
    what: "cloud-init ran and the agent did not join",
    todo: "the machine may not reach control (TCP 7777); look at its console for flynn-hostd",
  },
  {
    stage: "join",
    patienceMs: 120_000,
    what: "its agent joined and has not reported itself ready",
    todo: "the container engine does not start; look at its console for docker",
  },
  {
    stage: "disk",
    patienceMs: 120_000,
    what: "its disk is set up and the container engine is not up",
    todo: "look at its console for docker",
  },
];

/** Firmware that is refused tries again within this time. */
const SAME_TRY_MS = 300_000;

const PENDING_TODO: Record<Pending["kind"], (name: string) => string> = {
  "new-card": (name) => `flynn machine list, then the line it names; or flynn machine reject ${name}`,
  changed: (name) => `flynn machine approve ${name}, or flynn machine reject ${name}`,
  "two-sessions": () => "find out which of the two is your machine, and switch the other one off",
};

export function diagnose(
  machine: Machine,
  timeline: readonly TimelineEvent[],
  { now, bootServers, hostSeenAt }: Circumstances,
): Explanation {
  const boot =
    machine.bootId === undefined
      ? timeline
      : timeline.filter(
          (event) =>
            event.bootId === undefined ||
            event.bootId === machine.bootId ||
            event.at >= (timeline.find((e) => e.bootId === machine.bootId)?.at ?? ""),
        );
  const findings: Finding[] = [];
  if (bootServers === 0)
    findings.push({
      level: "warning",
      what: "no boot server is connected to control",
      evidence: "none has been heard since control started",
      todo: "start one: `flynn up --interface IFACE`; `flynn doctor` says what is in its way",
    });
  for (const event of boot.filter(({ level }) => level !== "info").slice(-5))
    findings.push({
      level: event.level,
      what: event.message,
      evidence: `${event.stage} at ${event.at}`,
      todo:
        event.stage === "token-refused"
          ? "two machines may share an identity, or somebody replays a boot; power-cycle the machine to start a fresh boot"
          : "see the timeline around it",
    });
  const retried = boot.filter(({ stage }) => stage === "discover").length;
  if (retried >= 4 && !boot.some(({ stage }) => stage === "script"))
    findings.push({
      level: "warning",
      what: `it asked for an address ${retried} times without getting to a script`,
      evidence: "repeated DISCOVER",
      todo: "another DHCP server may be answering it as well",
    });

  if (machine.pending)
    findings.unshift({
      level: "warning",
      what: machine.pending.reason,
      evidence: `${machine.pending.kind} at ${machine.pending.at}`,
      todo: PENDING_TODO[machine.pending.kind](machine.name),
    });
  if (machine.state === "rejected")
    return {
      summary: `${machine.name} was rejected; it gets no boot file. flynn machine approve ${machine.name} lets it boot.`,
      findings,
    };
  if (machine.state === "ready")
    return {
      summary: `${machine.name} is a ready host${hostSeenAt ? `, last heard ${ago(hostSeenAt, now)}` : ""}.`,
      findings,
    };
  if (machine.state === "lost")
    return {
      summary: `${machine.name} was a host and fell silent${hostSeenAt ? ` ${ago(hostSeenAt, now)}` : ""}: power, link or kernel. Its jobs run elsewhere.`,
      findings,
    };
  if (machine.state === "discovered" && machine.pending)
    return { summary: `${machine.name} waits for a person: it ${machine.pending.reason}`, findings };
  const wrong = unbootable(machine.claimed ?? machine.identity);
  if (wrong !== undefined)
    return {
      summary: `${machine.name} cannot boot from here: its firmware is ${wrong}; ${BOOTS_ONLY}.`,
      findings: [
        {
          level: "error",
          what: `its firmware is ${wrong}`,
          evidence: "what it says of itself",
          todo: unbootableTodo(wrong),
        },
        ...findings,
      ],
    };
  // Approval is asked of what asked for a script; what never came so far has another problem.
  const asked = boot.some(({ stage }) => stage === "wait-approval" || stage === "script" || stage === "approved");
  const fetched = lastStep(boot)?.stage === "tftp";
  if (machine.state === "discovered" && (asked || !fetched))
    return { summary: `${machine.name} waits for approval: flynn machine approve ${machine.name}`, findings };
  const failed = failedBoots(timeline, now);
  if (failed !== undefined) {
    const { event, times } = failed;
    const again = times > 1 ? `, ${times} times by now` : "";
    return {
      summary: `${machine.name} does not boot: ${event.message} (${ago(event.at, now)}${again}).`,
      findings: [
        {
          level: "error",
          what: event.message,
          evidence: `${event.stage} at ${event.at}`,
          todo:
            REFUSAL_TODO[String(event.detail?.["refusal"] ?? "")] ?? "look at its console; it tries again by itself",
        },
        ...findings.filter(({ what }) => what !== event.message),
      ],
    };
  }
  const last = lastStep(boot);
  if (last === undefined)
    return {
      summary: `${machine.name} is ${machine.state}; it has not been seen booting yet. Switch it on, network boot first.`,
      findings,
    };
  const step = WAITING.find(({ stage }) => stage === last.stage)!;
  const silentMs = now.getTime() - Date.parse(last.at);
  if (silentMs <= step.patienceMs)
    return { summary: `${machine.name} is booting: ${last.message} (${ago(last.at, now)}).`, findings };
  return {
    summary: `${machine.name} stopped: ${step.what}, and nothing was heard for ${formatDuration(silentMs)}.`,
    findings: [
      {
        level: "error",
        what: step.what,
        evidence: `last step: ${last.stage}, ${last.message}, at ${last.at}`,
        todo: typeof step.todo === "string" ? step.todo : step.todo(machine.claimed ?? machine.identity),
      },
      ...findings,
    ],
  };
}

/** What to do about each code of an initrd's refusal (images/host). */
const REFUSAL_TODO: Readonly<Record<string, string>> = {
  memory: "give it more memory, or boot a smaller image; it refuses again at each try",
  network: "look at its link and at the switch port; a DHCP server must answer it after its kernel started too",
  fetch: "look at its link: the root image comes from the boot server over HTTP (TCP 7780)",
  image: "build the boot image again and roll it out: flynn image build, then flynn image rollout",
};
/** A machine that refuses begins again within a minute or two, and its newest boot says nothing of why. */
const FAILED_MS = 15 * 60_000;
const PAST_INITRD: readonly Stage[] = ["seed", "cloud-init", "join", "disk", "docker", "ready"];

/** The newest end of a boot in its initrd or before, unless the machine came further since; how often it was the same. */
function failedBoots(
  timeline: readonly TimelineEvent[],
  now: Date,
): { event: TimelineEvent; times: number } | undefined {
  const event = timeline.findLast(({ stage }) => stage === "boot-failed");
  if (event === undefined || now.getTime() - Date.parse(event.at) > FAILED_MS) return undefined;
  if (timeline.some(({ stage, seq }) => seq > event.seq && PAST_INITRD.includes(stage))) return undefined;
  const since = timeline.findLast(({ stage, seq }) => seq < event.seq && PAST_INITRD.includes(stage))?.seq ?? -1;
  const times = timeline.filter(
    ({ stage, message, seq }) => stage === "boot-failed" && message === event.message && seq > since,
  ).length;
  return { event, times };
}

/** Firmware that was refused by itself after it fetched iPXE (Secure Boot) begins again with DHCP: what it fetched says more. */
function lastStep(boot: readonly TimelineEvent[]): TimelineEvent | undefined {
  const last = boot.findLast(({ stage }) => WAITING.some((step) => step.stage === stage));
  if (last?.stage !== "discover" && last?.stage !== "offer") return last;
  const fetched = boot.findLast(({ stage, level }) => stage === "script" || (stage === "tftp" && level === "info"));
  const isOfThisTry = fetched?.stage === "tftp" && Date.parse(last.at) - Date.parse(fetched.at) < SAME_TRY_MS;
  return isOfThisTry ? { ...last, stage: "tftp", message: fetched.message } : last;
}

const ago = (at: string, now: Date): string => `${formatDuration(Math.max(0, now.getTime() - Date.parse(at)))} ago`;
