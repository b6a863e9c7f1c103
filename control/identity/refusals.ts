// What is told of those that are not let in: on the timeline of the machine they say they are, and as events, bounded in time.
import { readJoinGrant } from "#api/boot.ts";
import type { BootCode } from "#api/boot-codes.ts";
import { Fault } from "#api/fault.ts";
import type { JoinRequest } from "#api/members.ts";
import type { Context } from "../context.ts";
import { eventChanges, plainText, timelineChanges } from "../events.ts";
import { keys } from "../keys.ts";
import type { MachineRecord } from "../records.ts";
import type { Store } from "../store/store.ts";
import { claimOf } from "./machine-decision.ts";

/** A grant of a machine whose host may live yet. */
export class Withheld extends Error {
  readonly machine: MachineRecord;
  /** Both sessions in words, when both are known to live. */
  readonly sessions: string | undefined;
  /** Its boot asks for the first time. */
  readonly first: boolean;
  constructor({ machine, sessions, first }: { machine: MachineRecord; sessions: string | undefined; first: boolean }) {
    super("join grant withheld");
    this.machine = machine;
    this.sessions = sessions;
    this.first = first;
  }
}

/** A refusal that says to who asks no more than he brought; `why`, which names what it is about, is for people alone. */
export class Refusal extends Fault {
  readonly why: string;
  readonly bootCode: BootCode;
  constructor(
    code: "unauthenticated" | "forbidden",
    message: string,
    why: string,
    bootCode: BootCode = "join-refused",
  ) {
    super(code, message);
    this.why = why;
    this.bootCode = bootCode;
  }
}

/** Monotonic. */
const lastToldMs = new WeakMap<Store, Map<string, number>>();
const SESSIONS_AGAIN_MS = 60_000;
const REFUSALS_AGAIN_MS = 1_000;

/** True once in this time for each kind of thing to tell. */
function isNews(store: Store, kind: string, againMs: number): boolean {
  const lastMs = lastToldMs.get(store) ?? new Map<string, number>();
  const nowMs = performance.now();
  if (nowMs - (lastMs.get(kind) ?? Number.NEGATIVE_INFINITY) < againMs) return false;
  lastToldMs.set(store, lastMs.set(kind, nowMs));
  return true;
}

/** Two live sessions: both are named, once a minute, and the machine waits for a person. One that may be over: its timeline says so. */
export async function noteWithheld(
  { store, now, log }: Context,
  request: JoinRequest,
  withheld: Withheld,
): Promise<void> {
  const { sessions, first } = withheld;
  const { id } = withheld.machine;
  const at = now();
  const message = sessions ?? "its join waits until its former session has been silent long enough";
  log.warn({ machineId: id, why: message }, "join withheld");
  const machine = store.get<MachineRecord>(keys.machine(id))?.value;
  if (machine === undefined || !(sessions ? isNews(store, `sessions ${id}`, SESSIONS_AGAIN_MS) : first)) return;
  const { bootId } = readJoinGrant(request.token)!;
  const step = sessions
    ? {
        stage: "token-refused" as const,
        level: "warning" as const,
        bootId,
        message: `a join was withheld: ${message}`,
        detail: { code: "join-withheld" },
      }
    : { stage: "note" as const, bootId, message, detail: { code: "join-waits" } };
  await store.commit({
    actor: "control",
    mutations: [
      ...timelineChanges(store, at, id, [step]),
      ...(sessions
        ? [
            { key: keys.machine(id), value: { ...machine, pending: twoSessions(machine, sessions, at) } },
            ...eventChanges(store, at, { type: "machine.two-sessions", subject: id, actor: "control", message }),
          ]
        : []),
    ],
  });
}

/** A refused joiner is told of: on the timeline of the machine it says it is, and as an event; at most one a second of a kind. */
export async function noteRefusal({ store, now, log }: Context, request: JoinRequest, refusal: Fault): Promise<void> {
  const at = now();
  const why = refusal instanceof Refusal ? refusal.why : refusal.message;
  const type = refusal.details?.["replayed"] ? "join-token.replayed" : "join.refused";
  log.warn({ role: request.role, name: plainText(request.name, 63), why }, "join refused");
  if (!isNews(store, type, REFUSALS_AGAIN_MS)) return;
  const grant = readJoinGrant(request.token);
  const machine = grant && store.get<MachineRecord>(keys.machine(grant.machineId))?.value;
  await store.commit({
    actor: "control",
    mutations: [
      ...(machine
        ? timelineChanges(store, at, machine.id, [
            {
              stage: "token-refused",
              level: "warning",
              bootId: grant!.bootId,
              message: `a join was refused: ${why}`,
              detail: { code: codeOf(refusal) },
            },
          ])
        : []),
      ...eventChanges(store, at, {
        type,
        subject: machine?.id ?? request.role,
        actor: "control",
        message: `a ${request.role} that calls itself ${request.name} was refused: ${why}`,
      }),
    ],
  });
}

const codeOf = (refusal: Fault): BootCode =>
  refusal instanceof Refusal ? refusal.bootCode : refusal.details?.["replayed"] ? "join-replayed" : "join-refused";

const twoSessions = ({ name }: MachineRecord, sessions: string, at: Date): MachineRecord["pending"] => ({
  kind: "two-sessions",
  at: at.toISOString(),
  claim: claimOf(sessions),
  reason: `${sessions}; if it is that machine, switch it off for half a minute; \`flynn machine reject ${name}\` puts this note away`,
});
