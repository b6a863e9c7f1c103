// From a command to the cluster it is about: which one, a client for it, and what to do when it does not answer.
import type { Client } from "#api/client.ts";
import type { Endpoint, Query, Reply } from "#api/endpoint.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { Invocation } from "../parse/command.ts";
import { chooseCluster, clusterClient } from "./clusters.ts";
import { type Cluster, clustersFile } from "./clusters-file.ts";

export function clusterOf({ text, cli }: Invocation): Promise<Cluster> {
  return chooseCluster(clustersFile(cli.env), text("cluster") ?? (cli.env["FLYNN_CLUSTER"] || undefined));
}

/** Runs `work` with a client of the chosen cluster and closes it. No answer at all becomes a Fault that says what to try. */
export async function withCluster<T>(
  call: Invocation,
  work: (client: Client, cluster: Cluster) => Promise<T>,
): Promise<T> {
  const cluster = await clusterOf(call);
  const client = clusterClient(cluster);
  try {
    return await work(client, cluster);
  } catch (error) {
    throw unreachable(error, cluster) ?? tokenRefused(error) ?? withTodo(error);
  } finally {
    client.close();
  }
}

/** The client's network errors name the URL and carry their cause; what control itself refuses has none. */
export function unreachable(error: unknown, { name, url }: Pick<Cluster, "name" | "url">): Fault | undefined {
  if (!isFault(error) || (error.code !== "unavailable" && error.code !== "timeout")) return undefined;
  const { cause } = error;
  if (!error.message.includes(new URL(url).origin) || !(cause instanceof Error) || isFault(cause)) return undefined;
  const { code = "", message } = cause as NodeJS.ErrnoException;
  const todo = /CERT|SSL|TLS|SELF_SIGNED|VERIFY/.test(code)
    ? "its certificate is not of the cluster that was added; if the cluster was made anew, add it again: flynn cluster add"
    : "is the appliance running (`flynn up`), and is this the right address (`flynn cluster list`)?";
  return new Fault("unavailable", `cluster ${name} does not answer at ${url}: ${message || code}; ${todo}`);
}

/** A token that control does not know, such as a revoked one: few are on the appliance's own machine, where control's words send them. */
export function tokenRefused(error: unknown): Fault | undefined {
  if (!isFault(error, "unauthenticated") || !error.message.startsWith("the token is not known")) return undefined;
  const todo = "or ask somebody who has the cluster for another: flynn token create NAME";
  return new Fault(error.code, `${error.message}; ${todo}`, error);
}

const LIST_OF: Record<string, string> = {
  app: "flynn apps",
  alert: "flynn alerts --all",
  key: "flynn key list",
  token: "flynn token list",
  machine: "flynn machine list",
  host: "flynn host list",
  job: "flynn ps",
  build: "flynn build list",
  release: "flynn releases",
  deployment: "flynn deployment list",
  route: "flynn route list",
  network: "flynn network list",
  service: "flynn service list",
  profile: "flynn profile list",
  "boot image": "flynn image list",
};

/** `no app x` from control, with the command that lists what there is. */
function withTodo(error: unknown): unknown {
  const noun = isFault(error, "not-found") && /^no (boot image|[a-z]+) [^;]*$/.exec(error.message)?.[1];
  const list = noun && Object.hasOwn(LIST_OF, noun) ? LIST_OF[noun] : undefined;
  return isFault(error) && list ? new Fault(error.code, `${error.message}; see \`${list}\``, error) : error;
}

interface Page {
  items: unknown[];
  nextCursor?: string;
}
type ListEndpoint = Endpoint & { reply: Endpoint["reply"] };

/** More than any list has: a million items of the smallest pages. */
const PAGES_MOST = 10_000;

/** Every item of a list, all pages of it; a Fault when they lead round or have no end. */
export async function listAll<E extends ListEndpoint>(
  client: Client,
  endpoint: E,
  input: { params?: object; query?: Query<E>; signal?: AbortSignal } = {},
): Promise<Reply<E> extends { items: (infer T)[] } ? T[] : never> {
  const items: unknown[] = [];
  const asked = new Set<string | undefined>();
  for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
    if (asked.has(cursor) || asked.size === PAGES_MOST)
      throw new Fault("internal", `the server's list ${endpoint.path} is without end; what it answers is wrong`);
    asked.add(cursor);
    const page = (await client.call(endpoint, {
      ...input,
      query: { ...(input.query as object), ...(cursor ? { cursor } : {}) },
    } as never)) as Page;
    items.push(...page.items);
    cursor = page.nextCursor;
  }
  return items as never;
}
