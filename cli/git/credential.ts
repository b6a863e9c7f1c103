// What git is told when it asks for a cluster's token (gitcredentials(7)): of the cluster at that address. Where several were added for
// it, the newest has the certificate authority that answers there now (a cluster that was made anew); the default one goes first among those of it.
import { type Cluster, type Clusters, clustersFile, readClusters } from "../clusters/clusters-file.ts";

/** The answer to git's question; undefined when no cluster of this user's has that address. */
export async function credential(asked: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const fields = new Map(asked.split("\n").map((line) => line.split(/=(.*)/s, 2) as [string, string]));
  // As text and not as a URL: one with a path, a user or a query in its host would be read as the address before or after it.
  const origin = `${fields.get("protocol")}://${fields.get("host")}`.toLowerCase().replace(/^(https:.*):443$/, "$1");
  const known = await readClusters(clustersFile(env));
  const cluster = answering(known, origin);
  return cluster && `username=flynn\npassword=${cluster.token}`;
}

/** Which of this user's clusters answers at an address. */
export function answering(known: Clusters, origin: string): Cluster | undefined {
  const newest = known.clusters.findLast(({ url }) => url === origin);
  const same = known.clusters.filter(({ url, pin }) => url === origin && pin === newest?.pin);
  return same.find(({ name }) => name === known.default) ?? newest;
}
