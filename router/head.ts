// The part of HAProxy's configuration that no route changes: global settings, defaults, and the frontend that finds for each
// request the route, its options and the backend by looking into maps (reference: HAProxy 2.6 configuration manual).
import { CERTIFICATE_LIST } from "./certificates.ts";
import { mapFile } from "./maps.ts";
import { OLD_WORKER_LIFE_MS, RELOADS_SURVIVED } from "./reload.ts";

export interface RenderOptions {
  /** Directory of the maps and sockets, absolute. */
  directory: string;
  bind: string;
  httpPort: number;
  /** Absent: no HTTPS; routes that redirect to it are answered as they are. */
  httpsPort?: number;
  /** CIDRs whose connections begin with the PROXY protocol; everybody else's begin with what they are. */
  proxySources?: readonly string[];
  maxConnections: number;
  threads?: number;
  /** Account the workers run as, when the master is root. */
  account?: string;
  accessLog: boolean;
  timeouts?: Partial<Timeouts>;
}
/** Longest silence, in milliseconds. */
export interface Timeouts {
  clientMs: number;
  serverMs: number;
  /** Of an upgraded connection (WebSocket), and of an event stream whose client asked for one. */
  tunnelMs: number;
  /** Of a TCP route's connection. */
  tcpMs: number;
  /** Not of silence: how long an older worker goes on after a reload. */
  oldWorkerMs: number;
}
/** In so many backends each job is checked every 800 ms; in twice as many, half as often, down to every 5 s. */
const CHECKED_OFTEN = 2_048;

/** A connection that fails makes the next check come at once, where they are far apart. */
function checks(backends: number): string {
  const factor = Math.min(6.25, Math.max(1, backends / CHECKED_OFTEN));
  const seldom = factor > 1 ? " observe layer4 error-limit 1 on-error fastinter" : "";
  return `check inter ${Math.round(800 * factor)}ms fastinter 300ms downinter ${duration(Math.round(1_000 * factor))} fall 2 rise 1${seldom}`;
}

export const DEFAULT_CERTIFICATE = "default.pem";

export const listenOn = (bind: string, port: number): string =>
  bind.includes(":") ? `[${bind}]:${port} v4v6` : `${bind}:${port}`;

export const expectProxy = (sources: readonly string[]): string =>
  `tcp-request connection expect-proxy layer4 if { src ${sources.join(" ")} }`;

const TIMEOUTS: Timeouts = {
  clientMs: 60_000,
  serverMs: 60_000,
  tunnelMs: 3_600_000,
  tcpMs: 86_400_000,
  oldWorkerMs: OLD_WORKER_LIFE_MS,
};
const STREAMS_MOST = 10_000;
const MAINTENANCE_RETRY_S = 300;

/** Pages of apps are shown as documents of no origin: no scripts, no forms, nothing from elsewhere. */
const SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox";

// TLS as Mozilla's "intermediate": 1.2 with forward secrecy and authenticated encryption, and 1.3.
const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
].join(":");
const TLS = `\
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphers ${CIPHERS}
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
  ssl-default-bind-curves X25519:P-256:P-384
`;

const LOG_FORMAT = [
  "at=info method=%HM path=%{+Q,+E}HPO host=%[var(txn.host),url_enc] request_id=%[var(txn.id)]",
  'fwd=\\"%ci\\" job=%b/%s connect=%Tc service=%Tr status=%ST bytes=%B protocol=%[ssl_fc,iif(https,http)] state=%ts',
].join(" ");
const TCP_LOG_FORMAT =
  'at=info method=TCP port=%fp fwd=\\"%ci\\" job=%b/%s connect=%Tc service=%Tt bytes=%B protocol=tcp state=%ts';

// No rule asks `nbsrv` for the 503: in a worker that is being replaced it is 0 while its last requests are still served.
/** `backends`: how many there are, used or not; with many each job is looked at less often, so that checks cost the same. */
export function renderHead(options: RenderOptions, backends = 0): string {
  const {
    directory,
    bind,
    httpPort,
    httpsPort,
    maxConnections,
    threads,
    account,
    accessLog,
    proxySources = [],
  } = options;
  const { clientMs, serverMs, tunnelMs, oldWorkerMs } = { ...TIMEOUTS, ...options.timeouts };
  const map = (name: Parameters<typeof mapFile>[0]) => `map_str(${directory}/${mapFile(name)})`;
  const routes = `map_beg(${directory}/${mapFile("routes")})`;
  const reply = (name: string) => `var(txn.pool),concat(/${name}),${map("replies")}`;
  const noRoute = "unless { var(txn.route) -m found }";
  const isHost = "{ req.fhdr(host) -m reg ^[A-Za-z0-9._-]+(:[0-9]*)?$ }";
  const isRedirected = "{ var(txn.flags) -m sub r }";
  const isSticky = "{ var(txn.flags) -m sub s }";
  const isDown = "{ var(txn.flags) -m sub m }";
  const https = `  bind ${listenOn(bind, httpsPort ?? 0)} ssl crt ${directory}/${DEFAULT_CERTIFICATE} crt-list ${directory}/${CERTIFICATE_LIST} alpn h2,http/1.1\n`;
  const portInUrl = httpsPort === 443 ? "" : `:${httpsPort}`;
  return `# Written by the router at each change; always equal to what runs. Changes made by hand are lost.
global
  stats socket ${directory}/worker.sock mode 600 level admin
  stats timeout 1m
  maxconn ${maxConnections}
${threads === undefined ? "" : `  nbthread ${threads}\n`}${account === undefined ? "" : `  user ${account}\n  group ${account}\n`}\
  no strict-limits
  hard-stop-after ${duration(oldWorkerMs)}
  mworker-max-reloads ${RELOADS_SURVIVED}
  spread-checks 20
  tune.h2.initial-window-size 1048576
${httpsPort === undefined ? "" : TLS}${accessLog ? "  log stdout format raw local0\n" : ""}
defaults common
  mode http
  log global
  option dontlognull
  option idle-close-on-response
  option abortonclose
  option http-no-delay
  timeout connect 2s
  timeout client ${duration(clientMs)}
  timeout server ${duration(serverMs)}
  timeout tunnel ${duration(tunnelMs)}
  timeout queue 10s
  timeout http-request 15s
  timeout http-keep-alive 30s
  http-error status 502 content-type text/plain lf-string "%[${reply("502")},b64dec]\\n"
  http-error status 503 content-type text/plain hdr retry-after 1 lf-string "%[${reply("503")},b64dec]\\n"
  http-error status 504 content-type text/plain lf-string "%[${reply("504")},b64dec]\\n"

frontend http from common
  bind ${listenOn(bind, httpPort)}
${httpsPort === undefined ? "" : https}${proxySources.length > 0 ? `  ${expectProxy(proxySources)}\n` : ""}\
  log-format "${LOG_FORMAT}"
  http-request set-var(txn.id) req.hdr(x-request-id) if { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{1,64}$ }
  http-request set-var(txn.id) uuid() unless { var(txn.id) -m found }
  http-after-response set-header x-request-id %[var(txn.id)]
  http-request set-var(txn.host) req.fhdr(host),field(1,:),field(1,/),lower,rtrim(.)
  http-request set-var(txn.path) path
  # What this reader and the job's could understand differently: a NUL, a carriage return that ends no line.
  http-request deny deny_status 400 if { req.hdrs -m reg '\\x00|\\r[^\\n]' }
  # Methods that are for proxies, not for apps; upgrades that would hide later requests from the rules here.
  http-request deny deny_status 405 if { method CONNECT TRACE }
  http-request del-header upgrade if { req.hdr(upgrade) -m sub -i h2c }
  http-request set-uri %[pathq] unless { url -m beg / } or { url * }
  # All that this router alone may say goes in one pass; then nothing is left to replace, only to add.
  http-request del-header ^(forwarded|proxy|http2-settings)$|^x[-_](forwarded|real|request)[-_] -m reg
  http-request add-header x-request-id %[var(txn.id)]
  http-request add-header x-request-start %[date(0,ms)]
  http-request add-header x-real-ip %[src]
  http-request add-header x-forwarded-for %[src]
  http-request add-header x-forwarded-proto %[ssl_fc,iif(https,http)]
  http-request add-header x-forwarded-port %[dst_port]
  http-request add-header x-forwarded-host %[req.fhdr(host)] if { req.fhdr(host) -m found }
  # Kept for proving who a domain belongs to: no app answers here, whatever its routes.
  http-request return status 404 content-type text/plain string "reserved for getting certificates\\n" if { path -m beg /.well-known/acme-challenge/ }
  http-request set-var(txn.route) var(txn.host),concat(,txn.path,/),${routes} if ${isHost}
  http-request set-var(txn.parent) var(txn.host),field(2,.,0) if !{ var(txn.route) -m found } ${isHost}
  http-request set-var(txn.route) str(*.),concat(,txn.parent,),concat(,txn.path,/),${routes} if { var(txn.parent) -m found }
  http-request return status 404 content-type text/plain lf-string "no app has a route for %[var(txn.host)]\\n" ${noRoute}
  http-request set-var(txn.pool) var(txn.route),field(1,:)
  # All that follows is for routes with options.
  http-request allow unless { var(txn.route) -m sub : }
  http-request set-var(txn.flags) var(txn.route),field(2,:)
  http-request set-var(txn.hsts) var(txn.route),field(3,:) if { var(txn.flags) -m found }
${httpsPort === undefined ? "" : `  http-request redirect code 308 location https://%[var(txn.host)]${portInUrl}%[pathq] if ${isRedirected} !{ ssl_fc }\n`}\
  http-request return status 503 content-type "text/html; charset=utf-8" hdr retry-after ${MAINTENANCE_RETRY_S} hdr cache-control no-store hdr content-security-policy "${SANDBOX}" hdr x-content-type-options nosniff lf-string "%[${reply("maintenance")},b64dec]\\n" if ${isDown} { ${reply("maintenance")} -m found }
  http-request set-var(txn.token) req.cook(flynn_sticky) if ${isSticky}
  http-request set-var(txn.canary) var(txn.route),field(5,:)
${indent(canary(map("sticky")))}
  http-request set-var(txn.server) var(txn.pool),concat(/,txn.token),${map("sticky")} if { var(txn.token) -m found }
  http-after-response allow if { var(txn.answered) -m found } !{ var(txn.flags) -m found }
  http-after-response set-header strict-transport-security max-age=%[var(txn.hsts)] if { var(txn.hsts) -m len gt 0 } { ssl_fc }
  # An error page of the app's own, where HAProxy answers in its place: what an app itself answers is left as it is.
  http-after-response set-var(txn.own) int(1) if { status 502:504 } !{ var(txn.answered) -m found } { ${reply("own")} -m found }
  http-after-response set-header content-type "text/html; charset=utf-8" if { status 502:504 } { var(txn.own) -m found }
  http-after-response set-header content-security-policy "${SANDBOX}" if { status 502:504 } { var(txn.own) -m found }
  http-after-response set-header x-content-type-options nosniff if { status 502:504 } { var(txn.own) -m found }
  use_backend %[var(txn.pool)]

# Paths that were answered with an event stream, by pool.
backend streams from common
  stick-table type string len 256 size ${STREAMS_MOST} expire 24h store gpc0

defaults pool from common
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  http-reuse safe
  http-request set-timeout server ${duration(tunnelMs)} if { req.hdr(accept) -m sub text/event-stream }
  # HAProxy 2.6 takes a timeout before the answer only: what was answered with an event stream is expected to be again.
  http-request set-timeout server ${duration(tunnelMs)} if { table_cnt(streams) gt 0 } { var(txn.pool),concat(,txn.path),in_table(streams) }
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
  http-response set-var(txn.answered) int(1)
  http-response del-header keep-alive
  http-response track-sc0 var(txn.pool),concat(,txn.path) table streams if { res.hdr(content-type) -m beg -i text/event-stream }
  http-response allow unless ${isSticky}
  http-response set-var(txn.slot) srv_name
  http-response set-var(txn.now) var(txn.pool),concat(/,txn.slot),${map("jobs")}
  http-response add-header set-cookie "flynn_sticky=%[var(txn.now)]; Path=/; HttpOnly; SameSite=Lax" if { var(txn.now) -m found } !{ ssl_fc } !{ var(txn.now),strcmp(txn.token) eq 0 }
  http-response add-header set-cookie "flynn_sticky=%[var(txn.now)]; Path=/; HttpOnly; SameSite=Lax; Secure" if { var(txn.now) -m found } { ssl_fc } !{ var(txn.now),strcmp(txn.token) eq 0 }
  default-server ${checks(backends)} pool-purge-delay 4s
`;
}

/**
 * Which of a route's two backends has the request: the one whose job the client's cookie names, else by lot; but where only one
 * of them has a job that is up, that one (in a worker that is being replaced neither has).
 */
function canary(jobOfCookie: string): string[] {
  const isCanary = "{ var(txn.canary) -m len gt 0 }";
  const names = (pool: string) =>
    `{ var(txn.token) -m found } { var(${pool}),concat(/,txn.token),${jobOfCookie} -m found }`;
  const isUp = (pool: string) => `{ var(${pool}),nbsrv gt 0 }`;
  return [
    `http-request set-var(txn.stable) var(txn.pool) if ${isCanary}`,
    `http-request set-var(txn.percent) var(txn.route),field(4,:) if ${isCanary}`,
    `http-request set-var(txn.pool) var(txn.canary) if ${isCanary} { rand(100),sub(txn.percent) lt 0 }`,
    `http-request set-var(txn.pool) var(txn.stable) if ${isCanary} !{ var(txn.percent) -m str 100 } ${names("txn.stable")}`,
    `http-request set-var(txn.pool) var(txn.canary) if ${isCanary} ${names("txn.canary")}`,
    `http-request set-var(txn.pool) var(txn.stable) if ${isCanary} ${isUp("txn.stable")} !${isUp("txn.canary")}`,
    `http-request set-var(txn.pool) var(txn.canary) if ${isCanary} ${isUp("txn.canary")} !${isUp("txn.stable")}`,
  ];
}

/** Of the sections of TCP ports. A peer that is gone without a word is found by the kernel's keep-alive. */
export function renderTcpDefaults({ timeouts }: RenderOptions): string {
  const { tcpMs } = { ...TIMEOUTS, ...timeouts };
  return `defaults tcp
  mode tcp
  log global
  option dontlognull
  option clitcpka
  option srvtcpka
  log-format "${TCP_LOG_FORMAT}"
  timeout connect 2s
  timeout client ${duration(tcpMs)}
  timeout server ${duration(tcpMs)}
  timeout tunnel ${duration(tcpMs)}
  timeout client-fin 1m
  timeout server-fin 1m
  timeout queue 10s
  balance leastconn
  retries 3
  option redispatch 1
  default-server check inter 800ms fastinter 300ms downinter 1s fall 2 rise 1
`;
}

const indent = (rules: readonly string[]): string => rules.map((rule) => `  ${rule}`).join("\n");

/** `60s`, `1h`, `250ms`, as HAProxy writes it. */
function duration(ms: number): string {
  for (const [unit, unitMs] of [
    ["h", 3_600_000],
    ["s", 1_000],
  ] as const)
    if (ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  return `${ms}ms`;
}
