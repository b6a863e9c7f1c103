// The text HAProxy reads: one frontend, two map files, a pool of generic backends with slots. Only numbers, addresses and
// names checked by assign.ts are ever printed, so no value from outside can end a line or begin a keyword.
import { type Assignment, backendName, slotName } from "./assign.ts";

export interface RenderOptions {
  /** Directory of the maps and sockets, absolute. */
  directory: string;
  bind: string;
  httpPort: number;
  maxConnections: number;
  threads?: number;
  /** Account the workers run as, when the master is root. */
  account?: string;
  accessLog: boolean;
}
export interface Rendered {
  cfg: string;
  routesMap: string;
  poolsMap: string;
}

/** Where a free slot points: a port where nothing listens, and the slot is in maintenance besides. */
export const PARKED = { address: "127.0.0.1", port: 1 } as const;

export function render(assignment: Assignment, routes: ReadonlyMap<string, string>, options: RenderOptions): Rendered {
  const backends = assignment.backends.map(({ slots }, b) =>
    [
      `backend ${backendName(b)} from pool`,
      ...slots.map((slot, s) => {
        const { address, port } = slot ?? PARKED;
        return `  server ${slotName(s)} ${address}:${port}${slot?.state === "up" ? "" : " disabled"}`;
      }),
      "",
    ].join("\n"),
  );
  return {
    cfg: [renderHead(options), ...backends].join("\n"),
    routesMap: mapText(routes),
    poolsMap: mapText(poolNames(assignment)),
  };
}

/** Backend name -> app, for the words of an error page. */
export function poolNames(assignment: Assignment): Map<string, string> {
  return new Map(
    assignment.backends.flatMap(({ pool }, b): [string, string][] => (pool ? [[backendName(b), pool.app]] : [])),
  );
}

/** What only a reload changes: everything but the addresses. */
export function renderShape(assignment: Assignment, options: RenderOptions): string {
  return [renderHead(options), ...assignment.backends.map(({ slots }) => slots.length)].join("\n");
}

function mapText(map: ReadonlyMap<string, string>): string {
  return [...map]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key} ${value}\n`)
    .join("");
}

const LOG_FORMAT = [
  "at=info method=%HM path=%{+Q,+E}HP host=%[var(txn.host),url_enc] request_id=%[var(txn.id)]",
  'fwd=\\"%ci\\" job=%b/%s connect=%Tc%[str(ms)] service=%Tr%[str(ms)] status=%ST bytes=%B protocol=http state=%ts',
].join(" ");

// No rule asks `nbsrv` for the 503: in a worker that is being replaced it is 0 while its last requests are still served.
function renderHead(options: RenderOptions): string {
  const { directory, bind, httpPort, maxConnections, threads, account, accessLog } = options;
  const routes = `${directory}/routes.map`;
  const app = `%[var(txn.pool),map_str(${directory}/pools.map)]`;
  const listen = bind.includes(":") ? `[${bind}]:${httpPort} v4v6` : `${bind}:${httpPort}`;
  const noPool = "unless { var(txn.pool) -m found }";
  return `# Written by the router at each change; always equal to what runs. Changes made by hand are lost.
global
  stats socket ${directory}/worker.sock mode 600 level admin
  stats timeout 1m
  maxconn ${maxConnections}
${threads === undefined ? "" : `  nbthread ${threads}\n`}${account === undefined ? "" : `  user ${account}\n  group ${account}\n`}\
  no strict-limits
  hard-stop-after 30m
${accessLog ? "  log stdout format raw local0\n" : ""}
defaults common
  mode http
  log global
  option dontlognull
  option idle-close-on-response
  option abortonclose
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout queue 10s
  timeout http-request 15s
  timeout http-keep-alive 30s
  http-error status 502 content-type text/plain lf-string "the job of ${app} closed the connection without an answer\\n"
  http-error status 503 content-type text/plain hdr retry-after 1 lf-string "no job of ${app} is up\\n"
  http-error status 504 content-type text/plain lf-string "the job of ${app} did not answer in time\\n"

frontend http from common
  bind ${listen}
  log-format "${LOG_FORMAT}"
  http-request set-var(txn.id) req.hdr(x-request-id) if { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{1,64}$ }
  http-request set-var(txn.id) uuid() unless { var(txn.id) -m found }
  http-request set-header x-request-id %[var(txn.id)]
  http-after-response set-header x-request-id %[var(txn.id)]
  http-request del-header forwarded
  http-request del-header x-forwarded- -m beg
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-forwarded-proto http
  http-request set-header x-forwarded-port %[dst_port]
  http-request set-header x-forwarded-host %[req.hdr(host)] if { req.hdr(host) -m found }
  http-request set-var(txn.host) req.hdr(host),field(1,:),field(1,/),lower,rtrim(.)
  http-request set-var(txn.path) path
  http-request set-var(txn.pool) var(txn.host),concat(,txn.path,/),map_beg(${routes})
  http-request set-var(txn.parent) var(txn.host),field(2,.,0) ${noPool}
  http-request set-var(txn.pool) str(*.),concat(,txn.parent,),concat(,txn.path,/),map_beg(${routes}) ${noPool}
  http-request return status 404 content-type text/plain lf-string "no app has a route for %[var(txn.host)]\\n" ${noPool}
  use_backend %[var(txn.pool)]

defaults pool from common
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  http-reuse safe
  http-response del-header keep-alive
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
  default-server check inter 800ms fastinter 300ms downinter 1s fall 2 rise 1 pool-purge-delay 4s
`;
}
