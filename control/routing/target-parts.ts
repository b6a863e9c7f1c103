// How a router's target travels: in events of bounded size, however many pools there are, and each chain and key once, again only
// when it changes. A stream is read in order, so "as before" always means the same to both ends.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RouterTarget, RouterTargetPart } from "#api/router-agents.ts";
import type { StreamEvent } from "#api/stream.ts";

/** Bytes after which another event begins: each is made and sent in one turn of the event loop. */
const PART_BYTES = 512 << 10;

/** `sent`: what whoever follows has of certificates already, id -> chain and key. */
export async function* inParts(
  events: AsyncIterable<StreamEvent<RouterTarget | RouterTargetPart>>,
  sent = new Map<string, string>(),
): AsyncGenerator<StreamEvent<RouterTargetPart>> {
  for await (const { id, event, data } of events) {
    const place = id === undefined ? {} : { id };
    if (data === undefined) {
      yield { ...place, event };
      continue;
    }
    for (const part of partsOf(data, sent)) {
      yield { ...place, event, data: part };
      if (part.part !== undefined) await nextTurn();
    }
  }
}

/** `sent`: certificate id -> chain and key as last sent; brought up to date. */
export function partsOf(
  target: RouterTarget | RouterTargetPart,
  sent: Map<string, string>,
  mostBytes = PART_BYTES,
): RouterTargetPart[] {
  const { pools, routes, tcp, certificates, peers, since, removed, ...rest }: RouterTargetPart = target;
  const certificateRows = certificates?.map(({ id, names, pem }) => {
    const isNew = pem !== undefined && sent.get(id) !== pem;
    if (pem !== undefined) sent.set(id, pem);
    return isNew ? { id, names, pem } : { id, names };
  });
  const wanted = new Set(certificates?.map(({ id }) => id));
  const isGone = (id: string) => (since === undefined ? !wanted.has(id) : removed?.certificates?.includes(id));
  for (const id of sent.keys()) if (isGone(id)) sent.delete(id);

  const difference = since === undefined ? {} : { since };
  const empty = (): RouterTargetPart => ({
    ...rest,
    ...difference,
    ...(since === undefined ? { peers: [] } : {}),
    pools: [],
    routes: [],
  });
  const parts: RouterTargetPart[] = [
    { ...empty(), ...(peers === undefined ? {} : { peers }), ...(removed === undefined ? {} : { removed }) },
  ];
  let sizeBytes = 0;
  const add = <T>(rows: readonly T[], bytesOf: (row: T) => number, listOf: (part: RouterTargetPart) => T[]) => {
    for (const row of rows) {
      const bytes = bytesOf(row);
      if (sizeBytes > 0 && sizeBytes + bytes > mostBytes) {
        parts.push(empty());
        sizeBytes = 0;
      }
      sizeBytes += bytes;
      listOf(parts.at(-1)!).push(row);
    }
  };
  add(
    pools,
    ({ backends, maintenance = "", errorPage = "" }) =>
      200 + 150 * backends.length + maintenance.length + errorPage.length,
    (part) => part.pools,
  );
  add(
    routes,
    ({ domain, path }) => 150 + domain.length + path.length,
    (part) => part.routes,
  );
  add(
    tcp ?? [],
    () => 100,
    (part) => (part.tcp ??= []),
  );
  add(
    certificateRows ?? [],
    ({ names, pem = "" }) => 100 + names.join().length + pem.length,
    (part) => (part.certificates ??= []),
  );
  return parts.length === 1 ? parts : parts.map((part, n) => ({ ...part, part: { index: n, count: parts.length } }));
}
