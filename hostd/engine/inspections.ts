// What the engine's list leaves out of a container is asked for one by one, never by the list itself: a container that does not answer
// (its lock is held by a call that hangs) keeps nobody else waiting. One question per container is out at a time; until it is answered
// what was known of it stands in, or the list's own row, which says all but details.
import type Docker from "dockerode";
import { deadline } from "#lib/time.ts";
import { type Container, type ContainerStatus, LABELS } from "./engine.ts";

export interface InspectionOptions {
  /** One container in full, within a bound of its own; undefined when it is gone. */
  inspect: (id: string) => Promise<Container | undefined>;
  /** An answer has come that a list went without. */
  onAnswer?: () => void;
  /** How long a list waits for all that it is the first to ask. */
  patienceMs?: number;
  /** One that failed is asked again after so long. */
  againMs?: number;
}

export type ListRow = Pick<Docker.ContainerInfo, "Id" | "Names" | "Image" | "Labels" | "State" | "Status"> & {
  NetworkSettings?: { Networks?: Record<string, { IPAddress?: string }> };
};

export interface Inspections {
  /** The containers of these rows. Lists that follow one another share what was asked. */
  of(rows: readonly ListRow[]): Promise<Container[]>;
  /** It was said to have ended: whatever is known or was asked before is no answer any more. */
  doubt(id: string): void;
}

interface Asked {
  answer: Promise<void>;
  state: "asked" | "failed" | "answered";
  container?: Container | undefined;
  failedMs?: number | undefined;
  /** A list went without it. */
  isOwed?: boolean;
}

export function inspections({
  inspect,
  onAnswer,
  patienceMs = 1_000,
  againMs = 10_000,
}: InspectionOptions): Inspections {
  // A container of ours is started once in its life, so id and state say all that inspect would.
  const settled = new Map<string, Container>();
  const asking = new Map<string, Asked>();
  /** As they were known before they were in doubt, if they were. An end takes its time, and no list waits for it. */
  const doubted = new Map<string, Container | undefined>();

  const ask = (id: string, key: string): void => {
    const asked: Asked = asking.get(key) ?? { answer: Promise.resolve(), state: "asked" };
    asked.failedMs = undefined;
    asking.set(key, asked);
    asked.answer = inspect(id)
      .then(
        (container) => {
          asked.container = container;
          asked.state = "answered";
        },
        () => {
          asked.state = "failed";
          asked.failedMs = performance.now();
        },
      )
      .then(() => {
        if (asking.get(key) !== asked) return; // in doubt since it was asked
        const { container } = asked;
        const { status } = container ?? {};
        const isSettled = status === "exited" || (status === "running" && container?.address);
        if (container && isSettled && `${id} ${status}` === key) settled.set(key, container);
        if (asked.state === "answered") doubted.delete(key);
        if (asked.isOwed) onAnswer?.();
        asked.isOwed = false;
      });
  };

  const of = async (rows: readonly ListRow[]): Promise<Container[]> => {
    const keys = new Set(rows.map(keyOf));
    for (const map of [settled, asking, doubted])
      for (const known of map.keys()) if (!keys.has(known)) map.delete(known);
    const fresh: Asked[] = [];
    for (const row of rows) {
      const key = keyOf(row);
      if (settled.has(key)) continue;
      const known = asking.get(key);
      const isDue = known?.failedMs !== undefined && performance.now() - known.failedMs >= againMs;
      if (known === undefined || isDue) ask(row.Id, key);
      if (known === undefined && !doubted.has(key)) fresh.push(asking.get(key)!);
    }
    const all = Promise.all(fresh.map(({ answer }) => answer));
    await deadline(all, patienceMs, "the engine's answers").catch(() => undefined);
    return rows.flatMap((row) => {
      const key = keyOf(row);
      const kept = settled.get(key);
      if (kept) return kept;
      const one = asking.get(key);
      if (one?.state === "answered") {
        asking.delete(key);
        return one.container ?? [];
      }
      if (one) one.isOwed = true;
      const unanswered = one?.state ?? "asked";
      return { ...(doubted.get(key) ?? fromRow(row, unanswered)), unanswered };
    });
  };

  return {
    of,
    doubt(id) {
      const key = keyOf({ Id: id, State: "running" });
      doubted.set(key, settled.get(key) ?? doubted.get(key));
      settled.delete(key);
      asking.delete(key);
    },
  };
}

const keyOf = ({ Id, State }: Pick<ListRow, "Id" | "State">): string => `${Id} ${State}`;

export function fromRow(row: ListRow, unanswered: "asked" | "failed"): Container {
  const status = (["created", "exited", "removing", "dead"].find((one) => one === row.State) ??
    "running") as ContainerStatus;
  const address = Object.values(row.NetworkSettings?.Networks ?? {})[0]?.IPAddress;
  const exitCode = /^Exited \((\d+)\)/.exec(row.Status)?.[1];
  const own = Object.values(LABELS).filter((name) => Object.hasOwn(row.Labels, name));
  return {
    id: row.Id,
    name: (row.Names.find((name) => name.lastIndexOf("/") === 0) ?? "").replace(/^\//, ""),
    status,
    labels: Object.fromEntries(own.map((name) => [name, row.Labels[name]!.slice(0, 256)])),
    image: row.Image,
    ...(address ? { address } : {}),
    ...(exitCode === undefined ? {} : { exitCode: Number(exitCode) }),
    unanswered,
  };
}
