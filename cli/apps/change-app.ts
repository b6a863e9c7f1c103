// Changes of an app or a profile that depend on how it was: read, changed, written back only if nobody else has changed it since, and done
// once more from the newest if somebody has. Two people at once lose nothing of either.
import { type App, getApp, updateApp } from "#api/apps.ts";
import { getProfile, type Profile, putProfile } from "#api/boot.ts";
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

/** The same of a profile; one that is not there yet is `made` from what a new one has. */
export async function changeProfile(
  client: Pick<Client, "call" | "read">,
  { name, signal }: { name: string; signal: AbortSignal },
  change: (before: Profile) => Profile,
): Promise<{ profile: Profile; made: boolean }> {
  const once = async () => {
    const found = await client.read(getProfile, { params: { name }, signal }).catch((error: unknown) => {
      if (!isFault(error, "not-found")) throw error;
      return { reply: newProfile(name), etag: undefined };
    });
    const ifMatch = found.etag === undefined ? {} : { ifMatch: found.etag };
    const input = { params: { name }, body: change(found.reply), ...ifMatch, signal };
    return { profile: await client.call(putProfile, input), made: found.etag === undefined };
  };
  return changeTwice(once, `profile ${name} is being changed by somebody else; nothing of this was done: try again`);
}

const newProfile = (name: string): Profile => ({
  name,
  image: "current",
  cmdline: [],
  tags: {},
  sshKeys: [],
  diskPolicy: { name: "ram-only", mode: "ram" },
});

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
