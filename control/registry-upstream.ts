// The registry on loopback, as control's own side of what hosts read and write asks it.
import type { IncomingMessage } from "node:http";
import { Agent } from "node:https";
import { CONTROL_NAME } from "#api/client.ts";
import type { TlsIdentity } from "./api-server.ts";

/** Longest silence on a connection, in milliseconds. */
export const SILENCE_MS = 60_000;

export const agentOf = (
  { key, certificate: cert }: TlsIdentity,
  ca: string,
  { most, mostFree }: { most: number; mostFree: number },
): Agent =>
  new Agent({
    keepAlive: true,
    maxSockets: most,
    maxFreeSockets: mostFree,
    timeout: SILENCE_MS,
    ca,
    key,
    cert,
    servername: CONTROL_NAME,
  });

/** Those of the headers that are passed on. */
export function picked(headers: IncomingMessage["headers"], names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = headers[name];
      return typeof value === "string" ? [[name, value] as const] : [];
    }),
  );
}
