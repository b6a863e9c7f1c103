// time limit: 300 s
// Stalls made for real: a client in a namespace of its own stops somewhere in its boot, the real boot server records what it saw, and the
// doctor says from that record alone where it stopped.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootEvent } from "#api/boot.ts";
import type { Machine, TimelineEvent } from "#api/machines.ts";
import { until } from "#lib/time.ts";
import { diagnose } from "../../control/doctor/diagnose.ts";
import { type Lan, openLan } from "../lab/network.ts";
import { openScope, withScope } from "../lab/scope.ts";
import { bootMachine, bootTarget, writeImage } from "./image-fixture.ts";
import type { ServeOptions } from "./serve.ts";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const file = await openScope();
test.after(() => file.close());

/** Each stall and the step or code by which it is recorded last. */
const MADE: readonly (readonly [rule: string, last: string])[] = [
  ["offer-left", "offer"],
  ["tftp-never-begun", "address-taken"],
  ["wrong-network", "wrong-network"],
  ["no-boot-file", "no-boot-file"],
  ["declined", "declined"],
  ["tftp-unknown-file", "tftp-unknown-file"],
  ["tftp-broken-off", "tftp-broken-off"],
  ["ipxe-no-link", "tftp"],
  ["ipxe-no-script", "address-taken"],
  ["script-not-run", "script"],
  ["script-no-kernel", "ipxe-runs"],
  ["ipxe-failed", "ipxe-failed"],
  ["squashfs-half", "transfer-stopped"],
  ["initrd-memory", "initrd-memory"],
  ["initrd-no-port", "initrd-no-port"],
  ["initrd-hash", "initrd-hash"],
  ["agent-clock", "agent-clock"],
  ["token-superseded", "token-superseded"],
  ["seed-silent", "seed"],
];
/** Longer than any silence that is ordinary, shorter than a trouble is remembered. */
const LATER_MS = 600_000;

const timelineOf = (events: readonly BootEvent[]): TimelineEvent[] =>
  events.map(({ at, stage, level, message, bootId, detail }, n) => ({
    ...{ seq: n + 1, machineId: "m1", at, stage, level, message },
    ...(bootId === undefined ? {} : { bootId }),
    ...(detail === undefined ? {} : { detail }),
  }));

async function serving(lan: Lan, folder: string, macs: readonly string[]) {
  const fixture = await writeImage(folder, { squashfs: Buffer.alloc(40_000_000, "squash") });
  const stateDir = join(folder, "state");
  await mkdir(stateDir);
  const targetFile = join(folder, "target.json");
  const machines = macs.map((mac, n) => bootMachine(mac, { id: `m${n}` }));
  await writeFile(targetFile, JSON.stringify(bootTarget(machines, fixture.manifest)));
  const paths = { stateDir, imagesDir: fixture.imagesDir, imageKeyFile: fixture.keyFile, caFile: "" };
  const config = { interface: lan.bridge, mode: "full", range: "10.77.0.50-10.77.0.99", ...paths };
  const options: ServeOptions = { targetFile, config: { ...config, controlUrls: ["https://10.77.0.1:7777"] } };
  const server = await lan.spawn([process.execPath, here("serve.ts"), JSON.stringify(options)], { name: "boot" });
  await server.waitFor(/ready/, 20_000);
  return (mac: string) =>
    [...server.output().matchAll(/^event (.*)\n/gm)]
      .map((line) => JSON.parse(line[1]!) as BootEvent)
      .filter(({ claimed }) => claimed.mac === mac);
}

test("what really stopped is what the doctor says, from what the real boot server recorded", () =>
  withScope(async (scope) => {
    const lan = await openLan(scope);
    const hosts = [];
    for (const [n] of MADE.entries()) hosts.push(await lan.host(`m${n}`, `10.77.0.${100 + n}`));
    const eventsOf = await serving(
      lan,
      scope.folder,
      hosts.map(({ mac }) => mac),
    );
    const wrong: string[] = [];
    for (const [n, [rule, last]] of MADE.entries()) {
      const host = hosts[n]!;
      await host.exec([process.execPath, here("stall-client.ts"), rule, host.mac, lan.ip], { timeoutMs: 60_000 });
      const isLast = ({ stage, detail }: BootEvent) => stage === last || detail?.["code"] === last;
      await until(() => eventsOf(host.mac).some(isLast), {
        what: `${last} of ${rule}`,
        timeoutMs: 30_000,
        everyMs: 50,
      });
      const events = eventsOf(host.mac);
      const said = Object.assign({}, ...events.map(({ claimed }) => claimed)) as Machine["identity"];
      const machine = { id: "m1", name: "node-1", state: "booting", reason: "", identity: said } as unknown as Machine;
      const now = new Date(Date.parse(events.at(-1)!.at) + LATER_MS);
      const { summary, findings } = diagnose(machine, timelineOf(events), { now, bootServers: 1 });
      const seen = events.map(({ stage, detail }) => `${stage} ${detail?.["code"] ?? ""}`).join(", ");
      const found =
        rule === "no-boot-file"
          ? /cannot boot from here|nothing/.test(summary) || findings[0]?.rule
          : findings[0]?.rule;
      if (found !== rule && found !== true) wrong.push(`${rule}: ${summary} [${seen}]`);
    }
    assert.equal(wrong, []);
  }));

test.run();
