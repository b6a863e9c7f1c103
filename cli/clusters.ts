// Which clusters this user knows: ~/.flynn/clusters.json (FLYNN_HOME moves it), readable by the user only.
import { homedir } from "node:os";
import { join } from "node:path";
import { type Client, createClient } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { readText, writeFileAtomic } from "#lib/files.ts";

export interface Cluster {
  name: string;
  url: string;
  /** sha256 of the CA's DER, base64. */
  pin: string;
  caPem: string;
  token: string;
}

export interface Clusters {
  default?: string;
  clusters: Cluster[];
}

export function clustersFile(env: NodeJS.ProcessEnv): string {
  return join(env["FLYNN_HOME"] || join(env["HOME"] || homedir(), ".flynn"), "clusters.json");
}

export async function readClusters(file: string): Promise<Clusters> {
  const text = await readText(file);
  if (text === undefined) return { clusters: [] };
  const damaged = `${file} is damaged; move it away and add the cluster again with \`flynn cluster add\``;
  let value: Clusters;
  try {
    value = JSON.parse(text) as Clusters;
  } catch (cause) {
    throw new Fault("invalid", damaged, { cause });
  }
  if (!Array.isArray(value?.clusters)) throw new Fault("invalid", damaged);
  return value;
}

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
  return createClient({ urls: [url], caPem, token, ...options });
}
