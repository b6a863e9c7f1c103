// One open transfer: the state machine of transfer.ts with its timer, its file and a way to send. Knows no socket, so it
// is the same on a port of its own and on the shared one.
import type { TftpFile } from "./files.ts";
import type { FrameCache, Segment } from "./frames.ts";
import { ERROR_CODE, encodeError, encodeOack, type Options, type Packet } from "./packet.ts";
import {
  type AbortReason,
  begin,
  onAck,
  onError,
  onRepeat,
  onTimer,
  type Step,
  type Transfer,
  type TransferPlan,
} from "./transfer.ts";

export interface SessionOptions {
  plan: TransferPlan;
  oack: Options;
  file: TftpFile;
  frames: FrameCache;
  now: () => number;
  send: (packet: Buffer, offset: number, length: number) => void;
  /** Told once. */
  onEnd: (end: { ok: true } | { ok: false; why: AbortReason; detail: string }, transfer: Transfer) => void;
}

export interface Session {
  readonly transfer: Transfer;
  packet(packet: Packet): void;
  repeat(): void;
  abort(why: AbortReason, detail: string): void;
}

/** A deadline this much earlier than the armed timer is worth arming it again. */
const TIMER_SLACK_MS = 20;

export function startSession(options: SessionOptions): Session {
  const { file, frames, now, send, onEnd, plan } = options;
  let ended = false;
  let timer: NodeJS.Timeout | undefined;
  let armedForMs = Number.POSITIVE_INFINITY;
  let current: Segment | undefined;
  let sendNumber = 0;
  let transfer: Transfer;

  function take(step: Step): void {
    transfer = step.transfer;
    const { act } = step;
    if (act.do === "send") sendBlocks(act.from, act.to);
    else if (act.do === "done") end({ ok: true });
    else if (act.do === "abort") abort(act.why, act.detail);
    if (!ended && transfer.deadlineMs < armedForMs - TIMER_SLACK_MS) arm();
  }

  // Armed rarely: each ACK moves the deadline on, and the timer finds out when it fires.
  function arm(): void {
    clearTimeout(timer);
    armedForMs = transfer.deadlineMs;
    timer = setTimeout(
      () => {
        armedForMs = Number.POSITIVE_INFINITY;
        take(onTimer(transfer, now()));
        if (!ended && armedForMs === Number.POSITIVE_INFINITY) arm();
      },
      Math.max(1, Math.ceil(armedForMs - now())),
    );
  }

  function sendBlocks(from: number, to: number): void {
    sendNumber++;
    if (from === 0) {
      const oack = encodeOack(options.oack);
      send(oack, 0, oack.length);
    } else if (current !== undefined && from >= current.firstBlock && to <= current.lastBlock)
      sendFrom(current, from, to);
    else loadAndSend(from, to);
  }

  function loadAndSend(from: number, to: number): void {
    const asked = sendNumber;
    const onFailure = (error: unknown) => abort("read-failed", String(error));
    try {
      const loaded = frames.load(file, plan.blksize, from, to);
      if (loaded instanceof Promise)
        loaded.then((segments) => !ended && asked === sendNumber && sendLoaded(segments, from, to), onFailure);
      else sendLoaded(loaded, from, to);
    } catch (error) {
      onFailure(error);
    }
  }

  function sendLoaded(segments: Segment[], from: number, to: number): void {
    for (const segment of segments)
      sendFrom(segment, Math.max(from, segment.firstBlock), Math.min(to, segment.lastBlock));
    const last = segments.at(-1)!;
    if (last !== current) readAhead(last);
    current = last;
  }

  /** A file that takes time to read is read one segment before it is needed. */
  function readAhead(segment: Segment): void {
    const next = segment.lastBlock + 1;
    if (next > transfer.blockCount) return;
    try {
      const loading = frames.load(file, plan.blksize, next, next);
      if (loading instanceof Promise) loading.catch(() => undefined); // told when it is needed
    } catch {} // likewise
  }

  function sendFrom(segment: Segment, from: number, to: number): void {
    const { packets, stride, firstBlock } = segment;
    for (let block = from; block <= to && !ended; block++) {
      const offset = (block - firstBlock) * stride;
      send(packets, offset, Math.min(stride, packets.length - offset));
    }
  }

  function end(how: Parameters<typeof onEnd>[0]): void {
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    onEnd(how, transfer);
  }

  function abort(why: AbortReason, detail: string): void {
    if (ended) return;
    // Said only to who is known to listen: not to an address that never answered, nor in reply to an ERROR.
    if (transfer.proven && why !== "client-error" && why !== "declined" && why !== "superseded") {
      const packet = encodeError(ERROR_CODE.undefined, why);
      send(packet, 0, packet.length);
    }
    end({ ok: false, why, detail });
  }

  const first = begin(plan, now());
  transfer = first.transfer;
  take(first);
  return {
    get transfer() {
      return transfer;
    },
    packet(packet) {
      if (ended) return;
      if (packet.op === "ack") take(onAck(transfer, packet.block, now()));
      else if (packet.op === "error") take(onError(transfer, packet.code, packet.message));
    },
    repeat: () => {
      if (!ended) take(onRepeat(transfer, now()));
    },
    abort,
  };
}
