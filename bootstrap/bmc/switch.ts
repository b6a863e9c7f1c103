// What every kind of BMC can do for an order; one per kind, made for one order and closed after it.
import type { BootDevice, BootMode, PowerState } from "#api/power.ts";

export interface Switch {
  /** What the BMC says now. */
  power(signal: AbortSignal): Promise<PowerState>;
  on(signal: AbortSignal): Promise<void>;
  /** Hard: its power is cut. Else its operating system is asked to shut down. */
  off(hard: boolean, signal: AbortSignal): Promise<void>;
  /** Boots this once; resolves with what was read back. */
  bootOnce(device: BootDevice, mode: BootMode | undefined, signal: AbortSignal): Promise<string>;
  /** Its virtual CD drive; undefined where this kind of BMC has none. */
  drive?: Drive;
  close(): Promise<void>;
}

export interface Drive {
  /** Puts in the image at this address, and sees it in; nothing is done when it is in already. */
  insert(url: string, putIn: PutIn, signal: AbortSignal): Promise<void>;
  /** Takes it out, if it is in. */
  eject(url: string, putIn: PutIn, signal: AbortSignal): Promise<void>;
}

/** The drives that the order put something into: some show no address of what is in, and it may be somebody else's. */
export interface PutIn {
  has(drive: string): boolean;
  /** Before it is put in. */
  add(drive: string): unknown;
}
