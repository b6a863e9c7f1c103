// The open transfers by client, how many there may be, and which one gives way. A machine that reboots leaves transfers
// behind: they must not keep it from its next one. Forged requests must not keep out clients that have answered.

export interface Limits {
  transfersPerClient: number;
  transfers: number;
  /** Memory for packets ready to send, shared by all transfers. */
  cacheBytes: number;
}

export const DEFAULT_LIMITS: Limits = { transfersPerClient: 8, transfers: 512, cacheBytes: 32 << 20 };

export interface OpenTransfer {
  readonly address: string;
  readonly port: number;
  /** The client has acknowledged something, so its address is real. */
  readonly proven: boolean;
  readonly progressAtMs: number;
}

export interface TransferTable<T extends OpenTransfer> {
  readonly size: number;
  find(client: { address: string; port: number }): T | undefined;
  /** What one more transfer for `address` needs: nothing, the end of another, or to be refused. */
  admit(address: string): "admit" | "refuse" | { evict: T };
  add(transfer: T): void;
  /** False when it is not in the table any more. */
  remove(transfer: T): boolean;
  all(): T[];
}

export function transferTable<T extends OpenTransfer>(
  limits: Pick<Limits, "transfers" | "transfersPerClient">,
): TransferTable<T> {
  const byClient = new Map<string, T>();
  const countByAddress = new Map<string, number>();
  const key = ({ address, port }: { address: string; port: number }) => `${address} ${port}`;
  const count = (address: string) => countByAddress.get(address) ?? 0;
  return {
    get size() {
      return byClient.size;
    },
    find: (client) => byClient.get(key(client)),
    admit(address) {
      const clientIsFull = count(address) >= limits.transfersPerClient;
      if (!clientIsFull && byClient.size < limits.transfers) return "admit";
      let stalest: T | undefined;
      for (const one of byClient.values()) {
        if (clientIsFull ? one.address !== address : one.proven) continue;
        if (stalest === undefined || one.progressAtMs < stalest.progressAtMs) stalest = one;
      }
      return stalest === undefined ? "refuse" : { evict: stalest };
    },
    add(transfer) {
      byClient.set(key(transfer), transfer);
      countByAddress.set(transfer.address, count(transfer.address) + 1);
    },
    remove(transfer) {
      if (byClient.get(key(transfer)) !== transfer) return false;
      byClient.delete(key(transfer));
      if (count(transfer.address) > 1) countByAddress.set(transfer.address, count(transfer.address) - 1);
      else countByAddress.delete(transfer.address);
      return true;
    },
    all: () => [...byClient.values()],
  };
}
