// This host as a member of the cluster: it joins, stays one by renewing, knows what machine it is and where control answers.
import { join } from "node:path";
import { type Client, createClient } from "#api/client.ts";
import { knownUrls } from "#api/control-urls.ts";
import type { HostFacts, HostTarget } from "#api/host-agents.ts";
import { ensureIdentity, type Identity } from "#api/join.ts";
import { keepIdentity } from "#api/renew.ts";
import { ownHello } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import type { HostdConfig } from "./config.ts";
import { quote } from "./inventory/tpm.ts";
import { tellsTrouble } from "./join-trouble.ts";
import { type OwnFactsOptions, ownFacts } from "./own-facts.ts";
import { giveUpIdentity, rememberToken } from "./rejoin.ts";

export interface Membership {
  hostId: string;
  facts(): HostFacts;
  identity(): Identity;
  client: Client;
  /** Those configured, and, once there is a target, those that it names. */
  controlUrls(): readonly string[];
  useUrlsOf(target: Pick<HostTarget, "controlUrls"> | undefined): void;
  /** Control does not take the certificate: with a fresh token the next start joins anew. */
  onRefused(): Promise<void>;
  /** Keeps facts and certificate up to date. */
  run(signal: AbortSignal): Promise<void>;
}

export interface MembershipOptions extends Pick<OwnFactsOptions, "wayTo" | "bridges"> {
  config: HostdConfig;
  /** The clock that certificates are renewed by. */
  nowMs: (() => number) | undefined;
  /** Other addresses than before. */
  onFacts: () => void;
  onRenewed: (identity: Identity) => void;
  log: Log;
  signal: AbortSignal;
}

export async function joinCluster(options: MembershipOptions): Promise<Membership> {
  const { config, wayTo, bridges, nowMs, onFacts, onRenewed, log, signal } = options;
  const { stateDir, name, tags, joinToken } = config;
  const directory = join(stateDir, "identity");
  const caPem = config.caPem!;
  let controlUrls: readonly string[] = config.controlUrls;
  const facts = await ownFacts({
    ...{ stateDir, address: config.address, wayTo, log, bridges, controlUrls: () => controlUrls },
    onChange(moved) {
      // Connections from an address that is gone would be noticed by their silence alone.
      if (moved) client.useIdentity(identity);
      onFacts();
    },
  });
  const own = facts.now();
  const tellTrouble = tellsTrouble();
  let identity = await ensureIdentity({
    ...{ directory, controlUrls, caPem, role: "host", name, token: joinToken, facts: own, tags, signal },
    addresses: own.address === undefined ? [] : [own.address],
    onRetry(error) {
      log.warn({ err: error }, "join is tried again");
      void tellTrouble(error);
    },
    ...(config.requireTpm ? { quote: (token: string) => quote(token, { signal }) } : {}),
  });
  await rememberToken(directory, joinToken);
  const hostId = identity.id;
  log.info({ hostId, name, address: own.address }, "host identity");
  const client = createClient({ urls: controlUrls, caPem, identity, timeoutMs: 10_000, hello: ownHello("hostd") });

  const renew = (until: AbortSignal): Promise<void> =>
    keepIdentity({
      ...{ identity, directory, client, nowMs, signal: until },
      onRenewed(next) {
        identity = next;
        onRenewed(next);
        log.info({ expiresAt: next.expiresAt }, "certificate renewed");
      },
      onRetry: (error, expiresAt) => log.warn({ err: error, expiresAt }, "certificate not renewed, it is tried again"),
    });

  return {
    hostId,
    facts: facts.now,
    identity: () => identity,
    client,
    controlUrls: () => controlUrls,
    useUrlsOf(target) {
      controlUrls = knownUrls(config.controlUrls, target?.controlUrls);
      client.useUrls(controlUrls);
    },
    async onRefused() {
      if (await giveUpIdentity(directory, joinToken))
        throw new Error(
          "control refuses this host's certificate; it joins anew with its seed's token at the next start",
        );
    },
    run: async (until) => void (await Promise.all([facts.run(until), renew(until)])),
  };
}
