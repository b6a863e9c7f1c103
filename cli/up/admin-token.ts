// The admin token of the appliance on this machine, as the CLI keeps it: saved when it is made, looked at when the appliance starts, and
// made anew where it is lost (api/local-token.ts).
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Fault, isFault } from "#api/fault.ts";
import { LOCAL_TOKEN_FILE, localToken } from "#api/local-token.ts";
import { getStatus } from "#api/status.ts";
import { readJson, readText, writeFileAtomic } from "#lib/files.ts";
import { newSecret } from "#lib/ids.ts";
import { until } from "#lib/time.ts";
import { clusterClient, saveCluster } from "../clusters/clusters.ts";
import { type Cluster, clustersFile, readClusters } from "../clusters/clusters-file.ts";
import { teachGit } from "../git/git-settings.ts";

export interface Admin {
  token: string;
  pin: string;
  url: string;
}

export interface Place {
  stateDir: string;
  env: NodeJS.ProcessEnv;
  signal: AbortSignal;
}

const TAKEN_MS = 20_000;
const LOOK_MS = 5_000;

/** Saves it for the CLI of this user, in the place of what was known of the cluster, and tells git. */
export async function saveAdmin(
  { token, pin, url }: Admin,
  { stateDir, env }: Pick<Place, "stateDir" | "env">,
): Promise<{ cluster: Cluster; file: string; git: string }> {
  const caPem = await readFile(join(stateDir, "control", "pki", "ca.pem"), "utf8");
  const file = clustersFile(env);
  const { clusters } = await readClusters(file);
  const name = clusters.find((known) => known.pin === pin)?.name ?? freeName("default", pin, clusters);
  const cluster = { name, url, pin, caPem, token };
  await saveCluster(file, cluster, { makeDefault: true });
  return { cluster, file, git: await teachGit(cluster, env) };
}

/** `wanted`, or with a number behind it while another cluster has that name: a token nobody can show again is not overwritten. */
function freeName(wanted: string, pin: string, clusters: readonly Pick<Cluster, "name" | "pin">[]): string {
  const taken = new Set(clusters.filter((cluster) => cluster.pin !== pin).map(({ name }) => name));
  for (let n = 1; ; n++) {
    const name = n === 1 ? wanted : `${wanted}-${n}`;
    if (!taken.has(name)) return name;
  }
}

/** A new admin token of the control that runs in this state directory. */
export async function makeAdmin({ stateDir, signal }: Omit<Place, "env">): Promise<Admin> {
  const ready = await readJson<Pick<Admin, "pin" | "url">>(join(stateDir, "control", "ready.json"));
  if (ready === undefined) throw new Fault("unavailable", "control is not up yet: try again when `flynn up` says so");
  const token = newSecret();
  const path = join(stateDir, "control", LOCAL_TOKEN_FILE);
  await writeFileAtomic(path, JSON.stringify(localToken(token)));
  try {
    const isTaken = async () => (await readText(path)) === undefined;
    await until(isTaken, { what: "the new token", timeoutMs: TAKEN_MS, signal });
  } catch (cause) {
    await rm(path, { force: true });
    const log = join(stateDir, "log", "control.log");
    throw new Fault("unavailable", `control did not take up the new token (its log: ${log})`, { cause });
  }
  return { token, pin: ready.pin, url: ready.url };
}

/** What keeps this user's CLI from the cluster that is up here, with what to do; undefined when nothing does. */
export async function tokenProblem(
  { pin, url }: Pick<Admin, "pin" | "url">,
  { stateDir, env, signal }: Place,
): Promise<string | undefined> {
  const todo = `make one: flynn cluster token --state ${stateDir}`;
  const known = (await readClusters(clustersFile(env))).clusters.find((cluster) => cluster.pin === pin);
  if (known === undefined) return `this user's CLI has no token for this cluster; ${todo}`;
  const client = clusterClient({ ...known, url }, { timeoutMs: LOOK_MS });
  try {
    await client.call(getStatus, { signal });
  } catch (error) {
    if (isFault(error, "unauthenticated"))
      return `the token that this user's CLI has for cluster "${known.name}" is not known to this state; ${todo}`;
    if (!isFault(error, "forbidden")) throw error; // a token that may not read the status is a good one
  } finally {
    client.close();
  }
  return undefined;
}
