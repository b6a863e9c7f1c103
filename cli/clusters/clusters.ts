// Which clusters this user knows, changed and chosen.
import { type Client, createClient } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { ownHello } from "#api/version.ts";
import { writeFileAtomic } from "#lib/files.ts";
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

/** The cluster named, else the default one. Fault `not-found` says how to add one. */
export async function chooseCluster(file: string, name: string | undefined): Promise<Cluster> {
  const known = await readClusters(file);
  const wanted = name ?? known.default;
  const cluster = known.clusters.find((candidate) => candidate.name === wanted);
  if (cluster === undefined)
    throw new Fault(
      "not-found",
      wanted === undefined
        ? "no cluster is known here yet; start one with `flynn up` or add one: flynn cluster add -p PIN NAME URL TOKEN"
        : `no cluster named ${wanted}; see \`flynn cluster list\``,
    );
  return cluster;
}

export function clusterClient({ url, caPem, token }: Cluster, options: { timeoutMs?: number } = {}): Client {
  return createClient({ urls: [url], caPem, token, hello: ownHello("cli"), ...options });
}
