// What git is told when it asks for a cluster's token (gitcredentials(7)): of the cluster at that address, the default one first.
import { clustersFile, readClusters } from "../clusters/clusters-file.ts";

/** The answer to git's question; undefined when no cluster of this user's has that address. */
export async function credential(asked: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const fields = new Map(asked.split("\n").map((line) => line.split(/=(.*)/s, 2) as [string, string]));
  const origin = URL.parse(`${fields.get("protocol")}://${fields.get("host")}`)?.origin;
  const known = await readClusters(clustersFile(env));
  const same = known.clusters.filter(({ url }) => url === origin);
  const cluster = same.find(({ name }) => name === known.default) ?? same[0];
  return cluster && `username=flynn\npassword=${cluster.token}`;
}
