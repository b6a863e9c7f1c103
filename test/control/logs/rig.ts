// Real log servers of hosts that joined a real control, each on a loopback address of its own, and control's reader over them.
import { join } from "node:path";
import { silentLog } from "#lib/log.ts";
import { hostClients } from "../../../control/host-clients.ts";
import { type Logs, logs } from "../../../control/logs/logs.ts";
import type { AppRef } from "../../../control/logs/whose.ts";
import { logRoute } from "../../../hostd/logs/route.ts";
import { type KeptLine, type LogStore, logStore } from "../../../hostd/logs/store.ts";
import { type HostServer, startHostServer } from "../../../hostd/server.ts";
import { factsOf, type Rig } from "../rig.ts";

export interface LogHost {
  name: string;
  store: LogStore;
  /** Keeps a line `ms` after the epoch of the test. */
  say(app: AppRef, ms: number, line: string): Promise<void>;
  /** Ends the server and every stream; `up` listens again. */
  down(): Promise<void>;
  /** Connections that the server holds of control. */
  connections(): number;
  up(): Promise<void>;
}

export interface LogRig {
  logs: Logs;
  hosts: LogHost[];
  close(): Promise<void>;
}

const EPOCH_MS = Date.parse("2026-01-01T00:00:00Z");
export const at = (ms: number): string => `${new Date(EPOCH_MS + ms).toISOString().slice(0, -1)}000Z`;

export async function logRig(rig: Rig, names: readonly string[]): Promise<LogRig> {
  const { context } = rig.control;
  const hosts: LogHost[] = [];
  let port = 0;
  for (const [n, name] of names.entries()) {
    const address = `127.77.6.${n + 1}`;
    const member = await rig.join("host", { name, facts: { ...factsOf(name, n + 1), address } });
    const store = logStore({ directory: join(rig.directory, `host-${name}`), onError: () => undefined });
    const identity = { certificate: member.certificate, key: member.key, caPem: rig.caPem };
    let server: HostServer | undefined;
    const host: LogHost = {
      name,
      store,
      async say(app, ms, line) {
        const kept: KeptLine = {
          at: at(ms),
          app: app.name,
          appId: app.id,
          process: "web",
          jobId: `${name}-1`,
          stream: "stdout",
          source: "app",
          line,
        };
        (await store.open(app.id)).append([kept]);
      },
      connections: () => server?.connections().control ?? 0,
      async down() {
        await server?.close();
        server = undefined;
      },
      async up() {
        server = await startHostServer({
          routes: [logRoute({ store, keepAliveMs: 500 })],
          identity,
          host: address,
          port,
          log: silentLog(),
        });
        port = server.port;
      },
    };
    await host.up();
    hosts.push(host);
  }
  const identity = await context.authority.issueControl(["127.0.0.1"]);
  const clients = hostClients(context, identity, port);
  return {
    logs: logs(context, clients),
    hosts,
    async close() {
      clients.close();
      for (const host of hosts) {
        await host.down();
        await host.store.close();
      }
    },
  };
}
