// Who may hold a connection to this host's server. Whoever has not shown control's certificate yet is on trial: a few seconds, a few
// per source address, a bounded number in all, and the quietest of whoever holds most goes first. Control's connections are counted
// apart, so that a container full of silent connections takes no place of control's.

export interface ConnectionLimits {
  /** On trial at once, of all addresses. */
  trialMost: number;
  /** On trial at once, of one address. */
  trialPerAddress: number;
  /** Control's own, with its sessions and log streams. */
  controlMost: number;
  /** From the connection to control's certificate. */
  trialMs: number;
}

export const CONNECTION_LIMITS: ConnectionLimits = {
  trialMost: 256,
  trialPerAddress: 16,
  controlMost: 1_024,
  trialMs: 10_000,
};

/** A TCP connection, as far as it matters here. */
export interface Connection {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
  destroy(): unknown;
  once(event: "close", listener: () => void): unknown;
}

export interface Connections {
  arrived(connection: Connection): void;
  /** The connection has shown control's certificate. */
  proved(connection: Pick<Connection, "remoteAddress" | "remotePort">): void;
  counts(): { trial: number; control: number };
  closeAll(): void;
}

interface Entry {
  connection: Connection;
  address: string;
  control: boolean;
  timer: NodeJS.Timeout;
}

const PROVED_ADDRESSES_MOST = 16;

export function connections(limits: ConnectionLimits = CONNECTION_LIMITS): Connections {
  // In the order of arrival. A TLS socket and the one below it are two objects; the pair of address and port is one.
  const entries = new Map<string, Entry>();
  /** Addresses that control came from last: theirs are the last to go for others' sake. */
  const proved = new Set<string>();
  const keyOf = ({ remoteAddress, remotePort }: Pick<Connection, "remoteAddress" | "remotePort">) =>
    `${remoteAddress} ${remotePort}`;
  const onTrial = () => [...entries.values()].filter(({ control }) => !control);
  const close = (entry: Entry | undefined) => void entry?.connection.destroy();

  return {
    arrived(connection) {
      const { remoteAddress: address } = connection;
      if (address === undefined) return void connection.destroy(); // gone again already
      const key = keyOf(connection);
      const timer = setTimeout(() => connection.destroy(), limits.trialMs);
      const entry: Entry = { connection, address, control: false, timer };
      entries.set(key, entry);
      connection.once("close", () => {
        clearTimeout(timer);
        if (entries.get(key) === entry) entries.delete(key);
      });
      close(tooMany(onTrial(), { ...limits, proved }) as Entry | undefined);
    },
    proved(connection) {
      const entry = entries.get(keyOf(connection));
      if (entry === undefined || entry.control) return;
      clearTimeout(entry.timer);
      entry.control = true;
      proved.delete(entry.address);
      proved.add(entry.address);
      if (proved.size > PROVED_ADDRESSES_MOST) proved.delete([...proved][0]!);
      const held = [...entries.values()].filter(({ control }) => control);
      if (held.length > limits.controlMost) close(entry);
    },
    counts() {
      const trial = onTrial().length;
      return { trial, control: entries.size - trial };
    },
    closeAll() {
      for (const entry of entries.values()) close(entry);
    },
  };
}

/** Which of those on trial, oldest first, has to go so that the limits hold; undefined: none. Pure. */
export function tooMany<T extends { address: string }>(
  trial: readonly T[],
  {
    trialMost,
    trialPerAddress,
    proved,
  }: Pick<ConnectionLimits, "trialMost" | "trialPerAddress"> & { proved: ReadonlySet<string> },
): T | undefined {
  const newest = trial.at(-1);
  if (newest === undefined) return undefined;
  const sameAddress = trial.filter(({ address }) => address === newest.address);
  if (sameAddress.length > trialPerAddress) return sameAddress[0];
  if (trial.length <= trialMost) return undefined;
  const groups = [...Map.groupBy(trial, ({ address }) => address)].map(([address, held]) => ({ address, held }));
  const others = groups.filter(({ address }) => !proved.has(address));
  const most = (others.length > 0 ? others : groups).reduce((a, b) => (b.held.length > a.held.length ? b : a));
  return most.held[0];
}
