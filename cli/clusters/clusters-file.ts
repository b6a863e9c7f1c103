// The file of the clusters that this user knows: ~/.flynn/clusters.json (FLYNN_HOME moves it), readable by the user only. Alone, since
// git asks for a token at every push and waits for what is loaded.
import { Fault } from "#api/fault.ts";
import { readText } from "#lib/files.ts";
import { flynnHome, type Platform, pathsOf } from "./home.ts";

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

export const clustersFile = (env: NodeJS.ProcessEnv, platform: Platform = process.platform): string =>
  pathsOf(platform).join(flynnHome(env, platform), "clusters.json");

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
