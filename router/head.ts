// The part of HAProxy's configuration that no route changes: global settings, defaults, and the frontend that finds for each
// request the route, its options and the backend by looking into maps (reference: HAProxy 2.6 configuration manual).

import { renderFrontend } from "./frontend.ts";
import { HOP_SCRIPT } from "./hop-script.ts";
import { mapFile } from "./maps.ts";
import { rateRules, rateTables } from "./rates.ts";
import { OLD_WORKER_LIFE_MS, RELOADS_SURVIVED } from "./reload.ts";
import { protocolOf, type RenderOptions, type Timeouts } from "./render-options.ts";

/** In so many backends each job is checked every 800 ms; in twice as many, half as often, down to every 5 s. */
const CHECKED_OFTEN = 2_048;

/** A connection that fails makes the next check come at once, where they are far apart. */
function checks(backends: number): string {
  const factor = Math.min(6.25, Math.max(1, backends / CHECKED_OFTEN));
  const seldom = factor > 1 ? " observe layer4 error-limit 1 on-error fastinter" : "";
  return `check inter ${Math.round(800 * factor)}ms fastinter 300ms downinter ${duration(Math.round(1_000 * factor))} fall 2 rise 1${seldom}`;
}

const TIMEOUTS: Timeouts = {
  clientMs: 60_000,
  serverMs: 60_000,
  tunnelMs: 3_600_000,
  tcpMs: 86_400_000,
  oldWorkerMs: OLD_WORKER_LIFE_MS,
};
const STREAMS_MOST = 10_000;
/** Headers of a message, and what is added to them, are in one buffer. A connection that moves bytes has about three. */
const BUFFER_BYTES = 49_152;
/** Of a message: of what a client sends that is more than it may, it is told in words. */
const HEADERS_READ_MOST = 1_000;
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

const TCP_LOG_FORMAT =
  'at=info method=TCP port=%fp fwd=\\"%ci\\" job=%b/%s connect=%Tc service=%Tt bytes=%B protocol=tcp state=%ts';

// No rule asks `nbsrv` for the 503: in a worker that is being replaced it is 0 while its last requests are still served.
/** `backends`: how many there are, used or not; with many each job is looked at less often, so that checks cost the same. */
export function renderHead(options: RenderOptions, backends = 0): string {
  const { directory, httpsPort, maxConnections, threads, account, accessLog } = options;
  const { clientMs, serverMs, tunnelMs, oldWorkerMs } = { ...TIMEOUTS, ...options.timeouts };
  const map = (name: Parameters<typeof mapFile>[0]) => `map_str(${directory}/${mapFile(name)})`;
  const reply = (key: string) => `var(txn.pool),${key},${map("replies")}`;
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
  tune.bufsize ${BUFFER_BYTES}
  tune.http.maxhdr ${HEADERS_READ_MOST}
  lua-load ${directory}/${HOP_SCRIPT}
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
  http-error status 502 content-type text/plain lf-string "%[${reply("concat(/502)")},b64dec]\\n"
  http-error status 503 content-type text/plain hdr retry-after 1 lf-string "%[srv_name,regsub(.*,-refused),set-var(txn.refused),regsub(.*,)]%[${reply("concat(/503,txn.refused)")},b64dec]\\n"
  http-error status 504 content-type text/plain lf-string "%[${reply("concat(/504)")},b64dec]\\n"

${renderFrontend(options)}
# Paths that were answered with an event stream, by pool.
backend streams from common
  stick-table type string len 256 size ${STREAMS_MOST} expire 24h store gpc0

${rateTables()}
${poolDefaults(options, backends, "pool")}
# Pools whose jobs speak HTTP/2 without TLS.
${poolDefaults(options, backends, "h2c")}`;
}

/** What the generic backends have in common. */
function poolDefaults(options: RenderOptions, backends: number, name: "pool" | "h2c"): string {
  const { tunnelMs } = { ...TIMEOUTS, ...options.timeouts };
  const map = (file: Parameters<typeof mapFile>[0]) => `map_str(${options.directory}/${mapFile(file)})`;
  const isSticky = "{ var(txn.flags) -m sub s }";
  const { isHttps } = protocolOf(options);
  return `defaults ${name} from common
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
  http-reuse safe
  http-request set-timeout server ${duration(tunnelMs)} if { req.hdr(accept) -m sub text/event-stream }
  # HAProxy 2.6 takes a timeout before the answer only: what was answered with an event stream is expected to be again.
  http-request set-timeout server ${duration(tunnelMs)} if { table_cnt(streams) gt 0 } { var(txn.pool),concat(,txn.path),in_table(streams) }
${name === "h2c" ? `  # A gRPC stream may be silent for long.\n  http-request set-timeout server ${duration(tunnelMs)} if { req.hdr(content-type) -m beg application/grpc }\n` : ""}\
  http-request disable-l7-retry unless { method GET HEAD OPTIONS }
${rateRules()
  .map((rule) => `  ${rule}\n`)
  .join("")}\
  http-response set-var(txn.answered) int(1)
  http-response del-header keep-alive
  http-response track-sc0 var(txn.pool),concat(,txn.path) table streams if { res.hdr(content-type) -m beg -i text/event-stream }
  http-response allow unless ${isSticky}
  http-response set-var(txn.slot) srv_name
  http-response set-var(txn.now) var(txn.pool),concat(/,txn.slot),${map("jobs")}
  http-response add-header set-cookie "flynn_sticky=%[var(txn.now)]; Path=/; HttpOnly; SameSite=Lax" if { var(txn.now) -m found } !${isHttps} !{ var(txn.now),strcmp(txn.token) eq 0 }
  http-response add-header set-cookie "flynn_sticky=%[var(txn.now)]; Path=/; HttpOnly; SameSite=Lax; Secure" if { var(txn.now) -m found } ${isHttps} !{ var(txn.now),strcmp(txn.token) eq 0 }
  default-server ${checks(backends)} pool-purge-delay 4s${name === "h2c" ? " proto h2" : ""}
`;
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

/** `60s`, `1h`, `250ms`, as HAProxy writes it. */
function duration(ms: number): string {
  for (const [unit, unitMs] of [
    ["h", 3_600_000],
    ["s", 1_000],
  ] as const)
    if (ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  return `${ms}ms`;
}
