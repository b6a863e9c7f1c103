// Which clusters this user knows, changed and chosen.
import { type Client, createClient } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { ownHello } from "#api/version.ts";
import { writeFileAtomic } from "#lib/files.ts";
import { isPacked } from "../clone/tree.ts";
import { type Cluster, type Clusters, readClusters } from "./clusters-file.ts";

/** Adds the cluster, or replaces the one of that name; the first is the default. */
export async function saveCluster(
  file: string,
  cluster: Cluster,
  options: { makeDefault?: boolean } = {},
): Promise<void> {
  const known = await readClusters(file);
  const clusters = [...known.clusters.filter(({ name }) => name !== cluster.name), cluster];
  const first = options.makeDefault || known.default === undefined ? cluster.name : known.default;
  await writeClusters(file, { default: first, clusters });
}

export async function writeClusters(file: string, clusters: Clusters): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(clusters, null, 2)}\n`, { mode: 0o600 });
}

/** How to come by a first cluster. The CLI alone cannot start one. */
export const firstCluster = (packed = isPacked): string =>
  `add one: flynn cluster add NAME https://10.77.0.1:7777 --pin PIN (asks for the token)${packed ? "" : "; or start one on this machine: flynn up"}`;

/** What to do when no cluster is the default; undefined when one is. */
export function defaultTodo({ clusters, default: chosen }: Clusters): string | undefined {
  if (chosen !== undefined || clusters.length === 0) return undefined;
  const names = clusters.map(({ name }) => name);
  return `none of the known clusters (${names.join(", ")}) is the default; choose one: flynn cluster default ${names.length === 1 ? names[0] : "NAME"}`;
}

/** The cluster named, else the default one. Fault `not-found` says how to come by one. */
export async function chooseCluster(file: string, name: string | undefined): Promise<Cluster> {
  const known = await readClusters(file);
  const wanted = name ?? known.default;
  const cluster = known.clusters.find((candidate) => candidate.name === wanted);
  if (cluster === undefined)
    throw new Fault(
      "not-found",
      wanted === undefined
        ? (defaultTodo(known) ?? `no cluster is known here yet; ${firstCluster()}`)
        : `no cluster named ${wanted}; see \`flynn cluster list\``,
    );
  return cluster;
}

export function clusterClient({ url, caPem, token }: Cluster, options: { timeoutMs?: number } = {}): Client {
  return createClient({ urls: [url], caPem, token, hello: ownHello("cli"), ...options });
}
