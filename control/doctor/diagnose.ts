// The boot doctor: from a machine's timeline to a plain-words answer to "why is it not a host yet?". Pure.
import type { Static } from "typebox";
import { BOOTS_ONLY, unbootable, unbootableTodo } from "#api/machine-identity.ts";
import type { Explanation, Machine, Pending, TimelineEvent } from "#api/machines.ts";
import { formatDuration } from "#lib/units.ts";
import { type Boot, type Circumstances, isCode, readBoot } from "./boot.ts";
import type { Found, Rule } from "./rule.ts";
import { DISK_RULES } from "./rules/disk.ts";
import { STALLS } from "./rules.ts";

type Finding = Static<typeof Explanation>["findings"][number];
export interface Fired extends Found {
  rule: Rule;
}

const KINDS: readonly Rule["kind"][] = ["told", "seen", "silence"];

/** The rules of the first kind that has any which fire: with sound rules one. */
export function stallsOf(boot: Boot): Fired[] {
  for (const kind of KINDS) {
    const fired = STALLS.filter((rule) => rule.kind === kind).flatMap((rule) => fire(rule, boot));
    if (fired.length > 0) return fired;
  }
  return [];
}

function fire(rule: Rule, boot: Boot): Fired[] {
  const found = rule.find(boot);
  return found === undefined ? [] : [{ ...found, rule }];
}

export function diagnose(
  machine: Machine,
  timeline: readonly TimelineEvent[],
  circumstances: Circumstances,
): Explanation {
  const boot = readBoot(machine, timeline, circumstances);
  const { summary, cause } = whereItStands(boot);
  const beside = DISK_RULES.flatMap((rule) => fire(rule, boot)).map((one) => findingOf(one, "warning"));
  const told = [...(cause?.seen ?? []), ...beside.flatMap(({ events = [] }) => events)].map(({ seq }) => seq);
  const facts = factsOf(boot);
  return {
    summary,
    findings: [
      ...pendingFinding(machine),
      ...(cause === undefined ? [] : [findingOf(cause, "error")]),
      ...(boot.bootServers === 0 ? [NO_BOOT_SERVER] : []),
      ...beside,
      ...factoryPassword(boot),
      ...askedAgain(boot),
      ...warningsOf(boot, told),
    ],
    ...(facts.length === 0 ? {} : { facts }),
  };
}

function whereItStands(boot: Boot): { summary: string; cause?: Fired } {
  const { machine, now, hostSeenAt } = boot;
  const { name, state, pending } = machine;
  const heard = hostSeenAt === undefined ? "" : ago(hostSeenAt, now);
  const [cause] = stallsOf(boot);
  switch (state) {
    case "rejected":
      return {
        summary: `${name} was rejected; it gets no boot file. flynn machine approve ${name} lets it boot.`,
      };
    case "ready":
      return { summary: `${name} is a ready host${heard && `, last heard ${heard}`}.` };
    case "rescue":
      return { summary: `${name} runs the rescue shell of its image; flynn machine reprovision ${name} ends that.` };
    case "erasing":
      return { summary: `${name} is being wiped by an order; flynn machine show ${name} says how far it is.` };
    case "off":
      return cause?.rule.kind === "told"
        ? { summary: sentence(boot, cause), cause }
        : {
            summary: `${name} is switched off${machine.reason && `: ${machine.reason}`}. flynn machine power on ${name}`,
          };
    case "lost":
      return cause?.rule.kind === "told" && cause.seen.some(({ stage }) => stage === "power" || stage === "order")
        ? { summary: sentence(boot, cause), cause }
        : {
            summary: `${name} was a host and fell silent${heard && ` ${heard}`}: power, link or kernel. Its jobs run elsewhere.`,
          };
    case "discovered":
      return discovered(boot, cause, pending);
    case "failed":
      if (cause === undefined) return { summary: `${name} does not boot: ${machine.reason}` };
      break;
    default:
  }
  const unfit = unfitness(boot);
  if (unfit) return unfit;
  if (cause !== undefined) return { summary: sentence(boot, cause), cause };
  if (boot.last === undefined || boot.current.length === 0)
    return {
      summary: `${name} is ${state}; it has not been seen booting yet. Switch it on, network boot first.`,
    };
  return { summary: `${name} is booting: ${boot.last.message} (${ago(boot.last.at, now)}).` };
}

/** Approval is asked of what asked for a script; what never came so far has another problem. */
function discovered(
  boot: Boot,
  cause: Fired | undefined,
  pending: Pending | undefined,
): { summary: string; cause?: Fired } {
  const { name } = boot.machine;
  if (pending) return { summary: `${name} waits for a person: it ${pending.reason}` };
  const unfit = unfitness(boot);
  if (unfit) return unfit;
  const asked = boot.current.some(({ stage }) => stage === "wait-approval" || stage === "script");
  const counts = cause?.rule.id === "duplicate-uuid" || !asked;
  if (cause !== undefined && counts) return { summary: sentence(boot, cause), cause };
  return { summary: `${name} waits for approval: flynn machine approve ${name}` };
}

/** Nothing here boots on such a machine, whatever its timeline says. */
function unfitness(boot: Boot): { summary: string; cause?: Fired } | undefined {
  const what = unbootable(boot.identity);
  if (what === undefined) return undefined;
  const noted = boot.events.findLast(isCode("no-boot-file"));
  return {
    summary: `${boot.machine.name} cannot boot from here: its firmware is ${what}; ${BOOTS_ONLY}.`,
    cause: {
      rule: UNFIT,
      what: `its firmware is ${what}`,
      todo: unbootableTodo(what),
      seen: noted === undefined ? [] : [noted],
    },
  };
}
const UNFIT: Rule = {
  id: "architecture-unsupported",
  kind: "told",
  follows: "the architecture that it says it has, of which there is no image here",
  find: () => undefined,
};

function sentence({ machine: { name }, silentMs, troubleTimes, now }: Boot, { rule, what, seen }: Fired): string {
  if (rule.kind === "silence")
    return `${name} stopped: ${what}, and nothing was heard for ${formatDuration(silentMs)}.`;
  const newest = seen.at(-1);
  const when = newest === undefined ? "" : ago(newest.at, now);
  const times = rule.kind === "told" && troubleTimes > 1 ? `${troubleTimes} times by now` : "";
  const beside = [when, times].filter(Boolean).join(", ");
  return `${name} does not boot: ${what}${beside && ` (${beside})`}.`;
}

function findingOf({ rule, what, todo, seen }: Fired, level: Finding["level"]): Finding {
  const events = seen.map(({ seq, at, stage, message }) => ({ seq, at, stage, message }));
  return {
    level,
    rule: rule.id,
    what,
    evidence: seen.length === 0 ? "what it says of itself" : seen.map(cited).join("; "),
    todo,
    events,
  };
}

const cited = ({ stage, at, message }: TimelineEvent): string => `${stage} at ${at}: ${message}`;

const NO_BOOT_SERVER: Finding = {
  level: "warning",
  what: "no boot server is connected to control",
  evidence: "none has been heard since control started",
  todo: "start one: `flynn up --interface IFACE`; `flynn doctor` says what is in its way",
};

const PENDING_TODO: Record<Pending["kind"], (name: string) => string> = {
  "new-card": (name) => `flynn machine list, then the line it names; or flynn machine reject ${name}`,
  changed: (name) => `flynn machine approve ${name}, or flynn machine reject ${name}`,
  "two-sessions": () => "find out which of the two is your machine, and switch the other one off",
};

const pendingFinding = ({ pending, name }: Machine): Finding[] =>
  pending === undefined
    ? []
    : [
        {
          level: "warning",
          rule: `waits-${pending.kind}`,
          what: pending.reason,
          evidence: `${pending.kind} at ${pending.at}`,
          todo: PENDING_TODO[pending.kind](name),
        },
      ];

/** It boots all the same; whoever is on its network can switch it off. */
function factoryPassword({ events, machine }: Boot): Finding[] {
  const event = events.findLast(isCode("bmc-factory-password"));
  if (event === undefined) return [];
  const what = "its BMC has the password that it was made with";
  const todo = `give it another on the BMC, and tell it here: flynn machine bmc set ${machine.name}`;
  return [{ level: "warning", rule: "bmc-factory-password", what, evidence: cited(event), todo }];
}

const ASKED_MOST = 4;

function askedAgain({ events }: Boot): Finding[] {
  const since = events.slice(events.findLastIndex(({ stage }) => stage === "script" || stage === "ready") + 1);
  const asked = since.filter(({ stage }) => stage === "discover");
  if (asked.length < ASKED_MOST) return [];
  return [
    {
      level: "warning",
      rule: "asked-again",
      what: `it asked for an address ${asked.length} times without getting to a script`,
      evidence: `the first discover at ${asked[0]!.at}, the last at ${asked.at(-1)!.at}`,
      todo: "another DHCP server may be answering it as well: flynn doctor network",
    },
  ];
}

const WARNINGS_MOST = 5;

/** What else is not as it should be in this try. */
function warningsOf({ current }: Boot, told: readonly number[]): Finding[] {
  return current
    .filter(({ level = "info", seq }) => level !== "info" && !told.includes(seq))
    .filter((event) => !isCode("bmc-factory-password")(event))
    .slice(-WARNINGS_MOST)
    .map((event) => ({
      level: event.level,
      what: event.message,
      evidence: `${event.stage} at ${event.at}`,
      todo: "see the timeline around it",
    }));
}

/** What is known beside the boot: what its firmware was seen to take, and what it was ordered. */
function factsOf({ events, order }: Boot): string[] {
  const learnt = events.findLast(isCode("firmware-learnt")) ?? events.findLast(isCode("rung"));
  return [
    ...(learnt === undefined ? [] : [`of its firmware was learnt: ${learnt.message}`]),
    ...(order === undefined
      ? []
      : [
          `order ${order.kind} of ${order.orderedBy} is ${order.state}${order.reason || order.step ? `: ${order.reason || order.step}` : ""}`,
        ]),
  ];
}

const ago = (at: string, now: Date): string => `${formatDuration(Math.max(0, now.getTime() - Date.parse(at)))} ago`;
