// Our side of the control plane: join once, follow the target, keep its last copy on disk, deliver events, sign join grants.
// Everything here may be late: machines boot from the last copy meanwhile.
import { createPrivateKey, type KeyObject } from "node:crypto";
import { join } from "node:path";
import { Ajv } from "ajv";
import { BootTarget, bootTarget, postBootEvents, signJoinGrant } from "#api/boot.ts";
import { createClient } from "#api/client.ts";
import { knownUrls } from "#api/control-urls.ts";
import type { RogueDhcpServer } from "#api/dhcp-servers.ts";
import { Fault } from "#api/fault.ts";
import { reportMachineInventory } from "#api/inventory.ts";
import { type Identity, loadIdentity } from "#api/join.ts";
import { pruneUnknown } from "#api/prune.ts";
import { asMember, type Member } from "#api/rejoin.ts";
import { keepIdentity } from "#api/renew.ts";
import { ownHello } from "#api/version.ts";
import { readJson, readText, writeFileAtomic } from "#lib/files.ts";
import type { Log } from "#lib/log.ts";
import type { Wake } from "#lib/wake.ts";
import { followBmcWork } from "./bmc/link.ts";
import type { BmcWorker } from "./bmc/worker.ts";
import type { BootRecord } from "./identity/tokens.ts";
import type { Inventories } from "./inventories.ts";
import type { Timeline } from "./timeline.ts";

export interface ControlLinkOptions {
  stateDir: string;
  controlUrls: readonly string[];
  caPem: string;
  name: string;
  joinTokenFile: string;
  timeline: Timeline;
  inventories: Pick<Inventories, "deliver">;
  /** Other DHCP servers that should not be there: told as they change, and now and then, since control keeps them in memory. */
  lan?: { rogues(): readonly RogueDhcpServer[]; changed: Wake };
  /** Told the last copy at once, and each newer target. */
  onTarget: (target: BootTarget) => void;
  /** Carries out what control wants of BMCs. */
  bmcs?: Pick<BmcWorker, "setWork">;
  log: Log;
  /** The clock that certificates are renewed by. */
  nowMs?: () => number;
}

export interface ControlLink {
  grant(boot: BootRecord): string;
  /** Runs until the signal ends; throws when control refuses us for good. */
  run(signal: AbortSignal): Promise<void>;
}

const LAN_MS = 60_000;
const LAN_AGAIN_MS = 10_000;
const GRANT_TTL_MS = 15 * 60_000;
const isTarget = new Ajv({ strict: false, validateSchema: false }).compile<BootTarget>(BootTarget);

export async function controlLink(options: ControlLinkOptions): Promise<ControlLink> {
  const { stateDir, controlUrls, caPem, name, timeline, inventories, onTarget, bmcs, log, nowMs } = options;
  const directory = join(stateDir, "identity");
  const copyPath = join(stateDir, "target.json");
  let signer: { id: string; key: KeyObject } | undefined;
  let term = 0;
  let urls: readonly string[] = controlUrls; // and those that the target names

  const known = await loadIdentity(directory);
  if (known) become(known);
  const copy = await readJson<unknown>(copyPath);
  pruneUnknown(BootTarget, copy);
  if (isTarget(copy)) {
    term = copy.term;
    urls = knownUrls(controlUrls, copy.controlUrls);
    onTarget(copy);
    log.info({ seq: copy.seq, machines: copy.machines.length }, "started from the last copy of the target");
  }

  function become(identity: Identity): void {
    signer = { id: identity.id, key: createPrivateKey(identity.key) };
  }

  async function follow(
    client: ReturnType<typeof createClient>,
    { identity, signal, onBreak: told }: Member,
  ): Promise<void> {
    const { id } = identity;
    const onBreak = (error: unknown) => {
      log.warn({ err: error }, "control is away, the last target stands");
      told(error);
    };
    for await (const event of client.follow(bootTarget, { params: { id }, signal, onBreak })) {
      const target = event.data;
      if (event.event !== "item") continue;
      pruneUnknown(BootTarget, target);
      if (!isTarget(target)) {
        const [problem] = isTarget.errors ?? [];
        log.error(
          { at: problem?.instancePath, problem: problem?.message },
          "target not understood, the last one stands",
        );
        continue;
      }
      if (target.term < term) {
        log.warn({ term: target.term, seen: term }, "target of an older term refused");
        continue;
      }
      term = target.term;
      client.useUrls(knownUrls(controlUrls, target.controlUrls));
      onTarget(target);
      await writeFileAtomic(copyPath, JSON.stringify(target), { mode: 0o600 });
    }
  }

  return {
    grant(boot) {
      if (signer === undefined) throw new Fault("unavailable", "the boot server has no certificate yet");
      const { machineId, bootId, mac, tokenHash } = boot;
      // The nonce is the boot's: a retried seed carries the same grant, and control takes it once.
      const expiresAtMs = boot.mintedAtMs + 2 * GRANT_TTL_MS;
      return signJoinGrant(
        { bootServerId: signer.id, machineId, bootId, mac, expiresAtMs, nonce: tokenHash },
        signer.key,
      );
    },
    async run(signal) {
      const token = async () =>
        options.joinTokenFile === "" ? undefined : (await readText(options.joinTokenFile))?.trim();
      const onRetry = (error: unknown) => log.warn({ err: error }, "join not possible yet, it is tried again");
      const role = "boot" as const;
      await asMember({ directory, controlUrls: urls, caPem, role, name, token, log, signal, onRetry }, actAs);
    },
  };

  async function tellOfLan(post: (servers: RogueDhcpServer[]) => Promise<void>, signal: AbortSignal): Promise<void> {
    if (options.lan === undefined) return;
    const { rogues, changed } = options.lan;
    while (!signal.aborted) {
      const told = await post([...rogues()]).then(
        () => true,
        (error: unknown) => {
          log.warn({ err: error }, "other DHCP servers not told, it is tried again");
          return false;
        },
      );
      await changed.wait(told ? LAN_MS : LAN_AGAIN_MS, signal);
    }
  }

  async function actAs(member: Member): Promise<void> {
    const { identity, signal } = member;
    become(identity);
    const client = createClient({ urls, caPem, identity, hello: ownHello("boot-server") });
    const { id } = identity;
    try {
      await Promise.all([
        follow(client, member),
        tellOfLan(async (dhcpServers) => {
          await client.call(postBootEvents, { params: { id }, body: { events: [], dhcpServers }, signal });
        }, signal),
        ...(bmcs === undefined ? [] : [followBmcWork({ client, id, worker: bmcs, log, signal })]),
        timeline.deliver(async (events) => {
          await client.call(postBootEvents, { params: { id }, body: { events }, signal });
        }, signal),
        inventories.deliver(async (body) => {
          await client.call(reportMachineInventory, { params: { id }, body, signal });
        }, signal),
        keepIdentity({
          identity,
          directory,
          client,
          onRenewed(next) {
            become(next);
            log.info({ expiresAt: next.expiresAt }, "certificate renewed");
          },
          onRetry: (error, expiresAt) =>
            log.warn({ err: error, expiresAt }, "certificate not renewed, it is tried again"),
          nowMs,
          signal,
        }),
      ]);
    } finally {
      client.close();
    }
  }
}
