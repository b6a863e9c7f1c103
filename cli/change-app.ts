// Changes of an app that depend on how it was: read, changed, written back only if nobody else has changed it since, and done
// once more from the newest if somebody has. Two people at once lose nothing of either.
import { type App, getApp, updateApp } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import type { Body } from "#api/endpoint.ts";
import { Fault, isFault } from "#api/fault.ts";

export async function changeApp(
  client: Pick<Client, "call" | "read">,
  { app, signal }: { app: string; signal: AbortSignal },
  change: (before: App) => Body<typeof updateApp>,
): Promise<App> {
  const once = async (): Promise<App> => {
    const { reply, etag } = await client.read(getApp, { params: { app }, signal });
    return client.call(updateApp, { params: { app: reply.id }, body: change(reply), ifMatch: etag, signal });
  };
  return changeTwice(once, `${app} is being changed by somebody else; nothing of this was done: try again`);
}

/** Tries once more what was refused because somebody else came first. */
export async function changeTwice<T>(once: () => Promise<T>, refusal: string): Promise<T> {
  try {
    return await once();
  } catch (error) {
    if (!isFault(error, "precondition")) throw error;
  }
  return once().catch((cause: unknown) => {
    throw isFault(cause, "precondition") ? new Fault("precondition", refusal, { cause }) : cause;
  });
}
