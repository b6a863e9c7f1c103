// Runs inside the lab's LAN for machine-grants.ts: joins as a boot server, reports one sighting of each MAC, prints the ids.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { postBootEvents } from "#api/boot.ts";
import { createClient } from "#api/client.ts";
import { ensureIdentity } from "#api/join.ts";
import type { Joined } from "./machine-grants.ts";

const { directory, macs, url, caFile, token } = JSON.parse(process.argv[2] ?? "{}") as {
  directory: string;
  macs: string[];
  url: string;
  caFile: string;
  token: string;
};
const caPem = await readFile(caFile, "utf8");
const signal = AbortSignal.timeout(20_000);
const identity = await ensureIdentity({
  directory,
  controlUrls: [url],
  caPem,
  role: "boot",
  name: "lab",
  token,
  signal,
});
const client = createClient({ urls: [url], caPem, identity });
const events = macs.map((mac) => ({
  eventId: randomUUID(),
  at: new Date().toISOString(),
  claimed: { mac, firmware: "bios" as const },
  observed: {},
  stage: "discover" as const,
  level: "info" as const,
  message: "asked for an address",
}));
const { machines } = await client.call(postBootEvents, { params: { id: identity.id }, body: { events }, signal });
client.close();
const joined: Joined = { id: identity.id, machines };
console.log(JSON.stringify(joined));
