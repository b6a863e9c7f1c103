// One read transfer as a state machine: what arrived and the time go in, what to send and the next deadline come out.
// RFC 1350 (lock step), RFC 1123 section 4.2.3.1 (a duplicate ACK never causes a DATA: Sorcerer's Apprentice), RFC 7440
// (windows). Blocks are counted from 1 without wrapping; the OACK is block 0, so its ACK 0 is no special case.

export interface TransferRules {
  /** Without any progress for this long the client is gone. */
  idleMs: number;
  totalMs: number;
  /** Retransmission timeout before the first round trip is measured, and its bounds after. */
  firstRtoMs: number;
  minRtoMs: number;
  maxRtoMs: number;
  backoff: number;
  /** After this many quick resends the server holds its tongue for `quietMs`, longer if the client agreed a longer `timeout`. */
  quickResends: number;
  /**
   * Some clients (atftp) ignore a repeated DATA and abort on a repeated OACK: when it was their ACK that was lost, only their
   * own timer, 5 s, saves the transfer, and every packet from us starts it anew.
   */
  quietMs: number;
  /**
   * Silence before an OACK is repeated of our own accord: over two turns of that 5 s timer, so that one lost ACK 0 and its lost
   * repetition do not meet a second OACK. A client that never got the first one asks again, and is answered at once.
   */
  oackQuietMs: number;
  /** Sends of the first reply, to an address that may be forged: RFC 1350 has no proof of it before the first ACK. */
  unprovenSends: number;
}

export const DEFAULT_RULES: TransferRules = {
  idleMs: 30_000,
  totalMs: 600_000,
  firstRtoMs: 1_000,
  minRtoMs: 100,
  maxRtoMs: 5_000,
  backoff: 1.5,
  quickResends: 2,
  quietMs: 5_500,
  oackQuietMs: 11_500,
  unprovenSends: 6,
};

export interface TransferPlan {
  sizeBytes: number;
  blksize: number;
  windowsize: number;
  /** The client's `timeout` option: the longest it wants to wait for a retransmission. A measured shorter one is used. */
  timeoutMs: number | undefined;
  hasOack: boolean;
  rules: TransferRules;
}

export interface Transfer {
  readonly plan: TransferPlan;
  readonly blockCount: number;
  /** Last block acknowledged in order; -1 while an OACK waits. */
  readonly acked: number;
  readonly sent: number;
  /** Times what is outstanding was sent. */
  readonly sends: number;
  /** True when the window after `acked` was already sent a second time on the client's word. */
  readonly wentBack: boolean;
  readonly proven: boolean;
  readonly startedAtMs: number;
  readonly progressAtMs: number;
  readonly sentAtMs: number;
  readonly rttMs: number | undefined;
  readonly rttDeviationMs: number;
  readonly retransmits: number;
  readonly deadlineMs: number;
}

export type AbortReason =
  | "client-error"
  | "declined"
  | "timeout"
  | "time-limit"
  | "superseded"
  | "evicted"
  | "read-failed"
  | "closed";

export type Act =
  | { do: "nothing" }
  /** Blocks `from` to `to`; block 0 is the OACK. */
  | { do: "send"; from: number; to: number }
  | { do: "done" }
  | { do: "abort"; why: AbortReason; detail: string };

export interface Step {
  transfer: Transfer;
  act: Act;
}

const NOTHING: Act = { do: "nothing" };

export function begin(plan: TransferPlan, nowMs: number): Step {
  const acked = plan.hasOack ? -1 : 0;
  return send(
    {
      plan,
      blockCount: Math.floor(plan.sizeBytes / plan.blksize) + 1, // the last is short, and empty when the size is a multiple
      acked,
      sent: acked,
      sends: 0,
      wentBack: false,
      proven: false,
      startedAtMs: nowMs,
      progressAtMs: nowMs,
      sentAtMs: nowMs,
      rttMs: undefined,
      rttDeviationMs: 0,
      retransmits: 0,
      deadlineMs: nowMs,
    },
    nowMs,
  );
}

export function onAck(transfer: Transfer, wireBlock: number, nowMs: number): Step {
  const { acked, sent, blockCount, plan } = transfer;
  const ahead = (wireBlock - acked) & 0xffff;
  if (ahead > sent - acked) return { transfer, act: NOTHING }; // stale, or never sent
  if (ahead === 0) {
    // In lock step a duplicate is ignored. In a window it says that the first block of it was lost (RFC 7440 section 4):
    // go back, once; a second loss is the timer's.
    if (plan.windowsize === 1 || transfer.wentBack || !transfer.proven) return { transfer, act: NOTHING };
    return send({ ...transfer, wentBack: true }, nowMs);
  }
  const measured =
    transfer.sends === 1 && ahead === sent - acked ? measure(transfer, nowMs - transfer.sentAtMs) : transfer;
  const next: Transfer = {
    ...measured,
    acked: acked + ahead,
    sends: 0,
    wentBack: ahead < sent - acked,
    proven: true,
    progressAtMs: nowMs,
  };
  return next.acked >= blockCount ? { transfer: next, act: { do: "done" } } : send(next, nowMs);
}

export function onError(transfer: Transfer, code: number, message: string): Step {
  // EDK2 asks tsize, reads the OACK, sends ERROR 8 and asks again without it: a normal end, not a failure.
  const declined = transfer.acked === -1;
  const detail = `error ${code}${message === "" ? "" : ` ${message}`}`;
  return { transfer, act: { do: "abort", why: declined ? "declined" : "client-error", detail } };
}

/** The same request again: the first reply may have been lost, so it is sent again, a bounded number of times. */
export function onRepeat(transfer: Transfer, nowMs: number): Step {
  if (transfer.proven || transfer.sends >= transfer.plan.rules.unprovenSends) return { transfer, act: NOTHING };
  return send(transfer, nowMs);
}

export function onTimer(transfer: Transfer, nowMs: number): Step {
  const { plan, progressAtMs, startedAtMs, proven, sends, acked, blockCount, sent } = transfer;
  if (nowMs < transfer.deadlineMs) return { transfer, act: NOTHING };
  if (nowMs - startedAtMs >= plan.rules.totalMs) {
    return {
      transfer,
      act: {
        do: "abort",
        why: "time-limit",
        detail: `${acked} of ${blockCount} blocks after ${plan.rules.totalMs} ms`,
      },
    };
  }
  if (nowMs - progressAtMs >= plan.rules.idleMs || (!proven && sends >= plan.rules.unprovenSends)) {
    const waiting =
      sent >= blockCount
        ? "the last block was not acknowledged"
        : `no ACK after block ${Math.max(acked, 0)} of ${blockCount}`;
    return { transfer, act: { do: "abort", why: "timeout", detail: waiting } };
  }
  return send(transfer, nowMs);
}

function send(transfer: Transfer, nowMs: number): Step {
  const { plan, acked, blockCount } = transfer;
  const from = acked + 1;
  // The OACK goes alone: it is small, and so is all that a forged address can be sent.
  const to = from === 0 ? 0 : Math.min(acked + plan.windowsize, blockCount);
  const again = Math.max(0, Math.min(transfer.sent, to) - acked);
  const sends = transfer.sends + 1;
  const next = {
    ...transfer,
    sent: Math.max(transfer.sent, to),
    sends,
    sentAtMs: nowMs,
    retransmits: transfer.retransmits + again,
  };
  return { transfer: { ...next, deadlineMs: deadline(next, nowMs) }, act: { do: "send", from, to } };
}

function deadline(transfer: Transfer, nowMs: number): number {
  const { plan, sends, acked, startedAtMs, progressAtMs } = transfer;
  const { quickResends, totalMs, idleMs } = plan.rules;
  const turn = (sends - 1) % (quickResends + 1);
  const { oackQuietMs } = plan.rules;
  const resendMs = turn === quickResends ? quiet(plan) : retransmissionTimeout(transfer, turn);
  const waitMs = acked === -1 ? Math.max(oackQuietMs, quiet(plan)) : resendMs;
  return Math.min(nowMs + waitMs, startedAtMs + totalMs, progressAtMs + idleMs);
}

function retransmissionTimeout({ plan, rttMs, rttDeviationMs }: Transfer, turn: number): number {
  const { firstRtoMs, minRtoMs, maxRtoMs, backoff } = plan.rules;
  const measuredMs = rttMs === undefined ? firstRtoMs : Math.max(minRtoMs, rttMs + 4 * rttDeviationMs);
  return Math.min(measuredMs * backoff ** turn, maxRtoMs, plan.timeoutMs ?? Number.POSITIVE_INFINITY);
}

function quiet({ timeoutMs, rules }: TransferPlan): number {
  return Math.min(Math.max(rules.quietMs, (timeoutMs ?? 0) + 500), 2 * rules.quietMs);
}

/** RFC 6298 smoothing; only a window sent once is measured (Karn), so the sample is of that window. */
function measure(transfer: Transfer, sampleMs: number): Transfer {
  const { rttMs, rttDeviationMs } = transfer;
  if (rttMs === undefined) return { ...transfer, rttMs: sampleMs, rttDeviationMs: sampleMs / 2 };
  return {
    ...transfer,
    rttMs: rttMs + (sampleMs - rttMs) / 8,
    rttDeviationMs: rttDeviationMs + (Math.abs(sampleMs - rttMs) - rttDeviationMs) / 4,
  };
}
