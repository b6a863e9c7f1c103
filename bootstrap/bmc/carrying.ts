// What an order is carried out with: its bounds, what it may use, and how it ends.
import type { OrderReport } from "#api/bmc-work.ts";
import type { PowerState } from "#api/power.ts";
import type { Medium } from "../media/room.ts";
import type { PutIn, Switch } from "./switch.ts";

export interface Waits {
  pollMs: number;
  /** Until a power cut, a shutdown and a start are seen. */
  hardMs: number;
  softMs: number;
  onMs: number;
  wakeMs: number;
  /** Until a machine that was switched on asks for its script from its ISO: firmware and a BMC that reads over the network are slow. */
  mediaMs: number;
  /** A BMC that does not answer is asked again for so long: many go away for a moment when the power changes. */
  silentMs: number;
}

export const WAITS: Waits = {
  pollMs: 2_000,
  hardMs: 120_000,
  softMs: 180_000,
  onMs: 120_000,
  wakeMs: 240_000,
  mediaMs: 900_000,
  silentMs: 90_000,
};

export interface Carrying {
  open: () => Switch;
  wake: () => Promise<void>;
  /** Whether anything was heard of the machine since then, on the monotonic clock. */
  heardSince: (sinceMs: number) => boolean;
  tell: (report: OrderReport) => void;
  /** Resolves when control agrees that it begins, or is away; false: it was taken back meanwhile, and nothing of it is to be done. */
  begins: (report: OrderReport) => Promise<boolean>;
  /** Resolves when it is written down that the machine was off, so that it is not switched off again. */
  rememberOff: () => Promise<void>;
  /** The ISO of this order's machine, served from now on until its end. */
  media: () => Promise<Medium>;
  /** The drives that its ISO was put into, kept over a restart. */
  putIn: PutIn;
  waits?: Waits;
  signal: AbortSignal;
  /** The boot server stops: what is tidied up after an order waits for the next start. */
  stopping: AbortSignal;
}

export type End = Required<Pick<OrderReport, "end">> & OrderReport;

export const done = (reason: string, power?: PowerState): End => ({
  step: reason,
  ...(power === undefined ? {} : { power }),
  end: { state: "done", reason },
});

/** Why an order's work ends when its boot server does: it goes on at the next start. */
export const STOPS = new Error("the boot server stops");
