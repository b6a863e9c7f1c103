// A whole control in this process: real store in a directory of its own, real TLS API on loopback, every loop running; and
// hosts and routers that join for real and report what they are told to. Only the registry and Docker are stood in for.
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type Client, createClient } from "#api/client.ts";
import type { Permission } from "#api/endpoint.ts";
import * as agents from "#api/host-agents.ts";
import type { JobReport } from "#api/jobs.ts";
import * as members from "#api/members.ts";
import { type RouterTarget, reportRouter, routerTarget } from "#api/router-agents.ts";
import type { Hello } from "#api/version.ts";
import { newSecret } from "#lib/ids.ts";
import { silentLog } from "#lib/log.ts";
import { every } from "#lib/time.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { keysNeeded, reseal } from "../../control/apps/env-at-rest.ts";
import { type ControlConfig, loadControlConfig } from "../../control/config.ts";
import { firstStart } from "../../control/first-start.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { sha256Hex } from "../../control/identity/principal.ts";
import { keys } from "../../control/keys.ts";
import type { TokenRecord } from "../../control/records.ts";
import type { Registry } from "../../control/registry.ts";
import { openSecrets, SEALING_DIRECTORY } from "../../control/secrets.ts";
import { openStore, type Store } from "../../control/store/store.ts";
import { type Control, wireControl } from "../../control/wire.ts";
import type { ControlParts } from "../../control/wiring/context.ts";
import { type Documented, documented } from "./documented.ts";

export interface Member {
  id: string;
  key: string;
  certificate: string;
  client: Client;
}

export interface FakeHost extends Member {
  /** Reports of the jobs in its target; each job's state comes from `state`. */
  states: Map<string, Partial<JobReport>>;
  target: agents.HostTarget | undefined;
  /** Version of its reach that it reports as enforced: its target's unless set; undefined as of an agent that knows of none. */
  enforced: () => number | undefined;
  report(over?: Partial<agents.HostReport>): Promise<unknown>;
  /** Follows the target and reports every 100 ms until `stop`. Jobs go up by themselves unless `states` says otherwise. */
  start(): void;
  stop(): Promise<void>;
}

export interface Rig {
  directory: string;
  url: string;
  token: string;
  caPem: string;
  store: Store;
  control: Control;
  admin: Client;
  config: ControlConfig;
  /** What control says of itself from the next start on; that of this version unless set. */
  hello: Hello | undefined;
  client(options?: { token?: string; identity?: { certificate: string; key: string }; hello?: Hello }): Client;
  tokenWith(permissions: Permission[]): Promise<string>;
  join(role: members.JoinRole, options?: Partial<members.JoinRequest> & { key?: string }): Promise<Member>;
  host(name?: string): Promise<FakeHost>;
  /** A router that acknowledges what it is told at once, or when told to. */
  router(options?: {
    acknowledge?: boolean;
  }): Promise<Member & { seen: RouterTarget[]; acknowledge: boolean; stop(): Promise<void> }>;
  /** Closes everything and opens it again over the same directory, as a restart does. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

/** Takes any bytes for an image; those that say `bad` are refused as the real one refuses them. */
export function fakeRegistry(refuse?: () => Error | undefined): Registry {
  return {
    async push(archive, _repository, signal) {
      let sizeBytes = 0;
      for await (const chunk of archive) {
        signal.throwIfAborted();
        sizeBytes += (chunk as Buffer).length;
      }
      const error = refuse?.();
      if (error) throw error;
      return { digest: `sha256:${sha256Hex(String(sizeBytes))}`, sizeBytes, architecture: "amd64" };
    },
    layOn: async ({ layer }) => ({ digest: layer.digest, sizeBytes: layer.sizeBytes, architecture: "amd64" }),
    remove: async () => true,
    collect: async () => true,
    problem: async () => undefined,
  };
}

export const GIB = 1024 ** 3;
export const factsOf = (name: string, n = 1): agents.HostFacts => ({
  hostname: name,
  address: `10.1.0.${n}`,
  capacity: { cpuMillis: 4_000, memoryBytes: 8 * GIB, diskBytes: 10 * GIB },
  architecture: "amd64",
  bootId: `kernel-boot-${n}`,
  macs: [`52:54:00:00:00:${n.toString(16).padStart(2, "0")}`],
  agentVersion: "0.1.0",
});

export async function rig(
  over: Partial<ControlConfig> & { images?: Registry; loops?: boolean } & Pick<
      ControlParts,
      "readDisk" | "routerAliveMs" | "external"
    > = {},
): Promise<Rig> {
  const { images = fakeRegistry(), loops = true, readDisk, routerAliveMs, external, ...settings } = over;
  const directory = await mkdtemp(join(tmpdir(), "control-test-"));
  const config: ControlConfig = {
    ...loadControlConfig(),
    stateDir: directory,
    address: "127.0.0.1",
    port: 0,
    stableMs: 0,
    ...settings,
  };
  const answers: Documented[] = [];
  const stops = new Set<() => Promise<void>>();
  const clients = new Set<Client>();
  let ended: Promise<void> = Promise.resolve();
  let stopped = new AbortController();
  let hostCount = 0;

  const it = { directory, config, hello: undefined } as unknown as Rig;
  const start = async () => {
    it.store = await openStore({ directory: join(directory, "store"), log: silentLog() });
    const authority = await openAuthority(join(directory, "ca"));
    const secrets = await openSecrets(join(directory, SEALING_DIRECTORY), keysNeeded(it.store));
    await reseal(it.store, secrets);
    it.token = (await firstStart(it.store, config, new Date())) ?? it.token;
    it.caPem = authority.caPem;
    const identity = await authority.issueControl(["127.0.0.1"]);
    const docker = { save: async () => ({ archive: Readable.from([Buffer.from("image")]), sizeBytes: 5 }) };
    const addresses = ["127.0.0.1"];
    it.control = wireControl({
      store: it.store,
      config,
      authority,
      secrets,
      log: silentLog(),
      identity,
      images,
      docker,
      addresses,
      ...(readDisk ? { readDisk } : {}),
      ...(routerAliveMs ? { routerAliveMs } : {}),
      // No test opens a connection to somebody else's machine.
      external: external ?? { dial: async () => undefined },
      ...(it.hello ? { hello: it.hello } : {}),
    });
    answers.push(documented(it.control));
    await it.control.app.listen({ host: "127.0.0.1", port: config.port });
    config.port = (it.control.app.server.address() as AddressInfo).port;
    it.url = `https://127.0.0.1:${config.port}`;
    stopped = new AbortController();
    ended = loops ? it.control.run(stopped.signal) : Promise.resolve();
    it.admin = it.client({ token: it.token });
  };
  const stop = async () => {
    stopped.abort();
    await ended;
    await it.control.close();
    await it.store.close();
  };
  const joined = (id: string, key: string, certificate: string): Member => ({
    id,
    key,
    certificate,
    client: it.client({ identity: { key, certificate } }),
  });

  Object.assign(it, {
    client(options = {}) {
      const made = createClient({ urls: [it.url], caPem: it.caPem, timeoutMs: 10_000, ...options });
      clients.add(made);
      return made;
    },
    async tokenWith(permissions) {
      const secret = newSecret();
      const value: TokenRecord = { id: secret.slice(0, 8), name: permissions.join(" "), permissions, createdAt: "" };
      await it.store.commit({ actor: "test", mutations: [{ key: keys.token(sha256Hex(secret)), value }] });
      return secret;
    },
    async join(role, { key = newKeyPem(), ...request } = {}) {
      const token = request.token ?? (await it.admin.call(members.createJoinToken, { body: { role } })).token;
      const name = request.name ?? role;
      const body = {
        token,
        role,
        name,
        csr: await newCsr(key, name),
        ...(role === "host" ? { facts: factsOf(name) } : {}),
      };
      const reply = await it.client().call(members.joinCluster, { body: { ...body, ...request, token } });
      return joined(reply.id, key, reply.certificate);
    },
    async host(name = `h${hostCount + 1}`) {
      const n = ++hostCount;
      const facts = factsOf(name, n);
      const member = await it.join("host", { name, facts });
      let done = new AbortController();
      let running: Promise<unknown> = Promise.resolve();
      // A job keeps its address as long as it runs, whatever comes and goes beside it.
      const addresses = new Map<string, string>();
      const addressOf = (jobId: string): string => {
        const { subnet = `100.64.${n}.0/24` } = host.target ?? {};
        const address = addresses.get(jobId) ?? subnet.replace(/\d+\/\d+$/, `${(addresses.size % 250) + 2}`);
        addresses.set(jobId, address);
        return address;
      };
      const host: FakeHost = {
        ...member,
        states: new Map(),
        target: undefined,
        enforced: () => host.target?.reach?.version,
        report: (more = {}) =>
          host.client.call(agents.reportHost, {
            params: { id: host.id },
            body: {
              term: host.target?.term ?? 0,
              seq: host.target?.seq ?? 0,
              facts,
              engine: { healthy: true, version: "20.10", reason: "" },
              jobs: [
                ...(host.target?.jobs ?? []),
                ...(host.target?.builds ?? []).map(({ jobId, desired }) => ({ id: jobId, desired })),
              ].map((job) => ({
                id: job.id,
                state: job.desired === "stop" ? ("down" as const) : ("up" as const),
                reason: "",
                restarts: 0,
                address: addressOf(job.id),
                ...(job.desired === "stop" ? {} : host.states.get(job.id)),
              })),
              ...(host.enforced() === undefined ? {} : { reachVersion: host.enforced() }),
              ...more,
            },
          }),
        start() {
          done = new AbortController();
          const { signal } = done;
          const follow = async () => {
            const input = { params: { id: host.id }, signal };
            for await (const { data } of host.client.follow(agents.hostTarget, input)) {
              if (data && "jobs" in data) host.target = data as agents.HostTarget; // whole: it says nothing of parts
              await host.report().catch(() => undefined);
            }
          };
          const beat = async () => {
            for await (const _ of every(100, signal)) await host.report().catch(() => undefined);
          };
          running = Promise.all([follow(), beat()]);
          stops.add(host.stop);
        },
        async stop() {
          done.abort();
          await running;
          stops.delete(host.stop);
        },
      };
      return host;
    },
    async router({ acknowledge = true } = {}) {
      const member = await it.join("router");
      const done = new AbortController();
      const seen: RouterTarget[] = [];
      const router = { ...member, seen, acknowledge, stop: async () => {} };
      let served = { term: 0, generation: 0 };
      const report = () => {
        const body = { ...served, healthy: true, reason: "", reloads: 0, refused: [], draining: [] };
        return member.client.call(reportRouter, { params: { id: member.id }, body }).catch(() => undefined);
      };
      const follow = async () => {
        const input = { params: { id: member.id }, signal: done.signal };
        for await (const { data } of member.client.follow(routerTarget, input))
          if (data && "pools" in data) seen.push(data as RouterTarget);
      };
      const beat = async () => {
        for await (const _ of every(50, done.signal)) {
          const newest = seen.at(-1);
          if (router.acknowledge && newest) served = { term: newest.term, generation: newest.generation };
          await report();
        }
      };
      const running = Promise.all([follow(), beat()]);
      router.stop = async () => {
        done.abort();
        await running;
        stops.delete(router.stop);
      };
      stops.add(router.stop);
      return router;
    },
    async restart() {
      await stop();
      await start();
    },
    async close() {
      for (const end of [...stops]) await end();
      await stop();
      for (const each of clients) each.close();
      await rm(directory, { recursive: true, force: true });
      for (const each of answers) each.check();
    },
  } satisfies Partial<Rig>);
  await start();
  return it;
}

/** Runs the body with a control of its own and ends it whatever happens. */
export async function withRig(
  body: (rig: Rig) => Promise<void>,
  options: Parameters<typeof rig>[0] = {},
): Promise<void> {
  const made = await rig(options);
  try {
    await body(made);
  } finally {
    await made.close();
  }
}
