// A program that reads its certificate only when it starts (the registry) is started again when that certificate is to be
// renewed and another one lies in its place.
import { readFile } from "node:fs/promises";
import { Fault } from "#api/fault.ts";
import { renewInTime } from "#api/renew.ts";
import type { Supervised } from "./supervisor.ts";

export interface FollowOptions {
  part: Pick<Supervised, "name" | "restart">;
  /** Path of its certificate, PEM. */
  file: string;
  signal: AbortSignal;
  say: (line: string) => void;
  nowMs?: () => number;
}

/** Runs until the signal aborts. */
export async function followCertificate({ part, file, signal, say, nowMs }: FollowOptions): Promise<void> {
  let loaded = await readFile(file, "utf8");
  const renew = async (): Promise<string> => {
    const next = await readFile(file, "utf8");
    if (next === loaded) throw new Fault("unavailable", `${file} was not renewed yet`); // asked again within a minute
    loaded = next;
    say(`${part.name} is started again: its certificate was renewed`);
    await part.restart();
    return next;
  };
  await renewInTime({ certificate: loaded, renew, signal, ...(nowMs ? { nowMs } : {}) });
}
