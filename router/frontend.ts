// The frontend: what is done with each request before a job has it. It finds the route, its options and the backend by looking into
// maps, and says to the job who asked (reference: HAProxy 2.6 configuration manual; RFC 9110 7.6.1; RFC 6585 5).
import { CERTIFICATE_LIST } from "./certificates.ts";
import { DROP_NAMED, TOO_MANY_NAMED } from "./hop-script.ts";
import { mapFile } from "./maps.ts";
import { DEFAULT_CERTIFICATE, expectProxy, listenOn, protocolOf, type RenderOptions } from "./render-options.ts";

/** What a request's headers may be; HAProxy reads a little more, so that more is answered in words. */
export const HEADERS_BYTES = 32_768;
export const HEADERS_MOST = 500;

const MAINTENANCE_RETRY_S = 300;
/** Fronts one behind the other that are looked through for the client's address. */
const FRONTS_DEEP = 4;

/** A listener of both families, a front or the PROXY protocol may name an IPv4 client as ::ffff:192.0.2.1; ipmask makes IPv4 of that. */
const AS_IPV4 = "http-request set-src src,ipmask(32,128) if { src ::ffff:0:0/96 }";

/** Pages of apps are shown as documents of no origin: no scripts, no forms, nothing from elsewhere. */
const SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; sandbox";

const logFormat = (options: RenderOptions): string =>
  [
    "at=info method=%HM path=%{+Q,+E}HPO host=%[var(txn.host),url_enc] request_id=%[var(txn.id)]",
    `fwd=\\"%ci\\" job=%b/%s connect=%Tc service=%Tr status=%ST bytes=%B protocol=%[${protocolOf(options).name}] state=%ts`,
  ].join(" ");

const TOO_LARGE = `the headers of this request are over ${HEADERS_BYTES / 1024} KiB, or more than ${HEADERS_MOST}: often too many cookies, then delete those of this site and try again`;

export function renderFrontend(options: RenderOptions): string {
  const { directory, bind, httpPort, httpsPort, proxySources = [], trustedFronts = [] } = options;
  const hasFronts = trustedFronts.length > 0;
  const isFront = `{ src ${trustedFronts.join(" ")} }`;
  const https = `ssl crt ${directory}/${DEFAULT_CERTIFICATE} crt-list ${directory}/${CERTIFICATE_LIST} alpn h2,http/1.1`;
  return [
    "frontend http from common",
    ...indented([
      `bind ${listenOn(bind, httpPort)}`,
      ...(httpsPort === undefined ? [] : [`bind ${listenOn(bind, httpsPort)} ${https}`]),
      // Before the PROXY protocol says who is behind it.
      ...(hasFronts ? [`tcp-request connection set-var(sess.front) bool(true) if ${isFront}`] : []),
      ...(proxySources.length > 0 ? [expectProxy(proxySources)] : []),
      `log-format "${logFormat(options)}"`,
      ...refusals(),
      ...(hasFronts ? client(isFront) : []),
      ...(hasFronts || proxySources.length > 0 || bind.includes(":") ? [AS_IPV4] : []),
      ...ownHeaders(options),
      ...route(options),
      ...routeOptions(options),
      "use_backend %[var(txn.pool)]",
    ]),
    "",
  ].join("\n");
}

const indented = (rules: readonly string[]): string[] => rules.map((rule) => `  ${rule}`);
const lookUp = (directory: string, name: Parameters<typeof mapFile>[0]) => `map_str(${directory}/${mapFile(name)})`;
const replyOf = (directory: string, name: string) => `var(txn.pool),concat(/${name}),${lookUp(directory, "replies")}`;

function refusals(): string[] {
  return [
    "# What Connection names is for this hop only.",
    "http-request set-var(txn.upgrade) bool(true) if { req.hdr(connection) -m str -i upgrade } { req.hdr(upgrade) -m found }",
    `http-request lua.${DROP_NAMED} if { req.hdr(connection) -m found } !{ req.hdr(connection) -m str -i close keep-alive upgrade } || { req.hdr_cnt(connection) gt 1 }`,
    "http-request set-var(txn.id) req.hdr(x-request-id) if { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{1,64}$ }",
    "http-request set-var(txn.id) uuid() unless { var(txn.id) -m found }",
    "http-after-response set-header x-request-id %[var(txn.id)]",
    "http-request set-var(txn.host) req.fhdr(host),field(1,:),field(1,/),lower,rtrim(.)",
    "http-request set-var(txn.path) path",
    // The first condition of each costs nothing: only where a request could be too large it is measured.
    `http-request return status 431 content-type text/plain string "${TOO_LARGE}\\n" if { internal.htx.data gt ${HEADERS_BYTES - 5 * HEADERS_MOST} } { req.hdrs,length gt ${HEADERS_BYTES} } || { internal.htx.nbblks gt ${HEADERS_MOST} } { req.fhdr_cnt gt ${HEADERS_MOST} }`,
    "# What this reader and the job's could understand differently: a NUL, a carriage return that ends no line.",
    `http-request deny deny_status 400 if { req.hdrs -m reg '\\x00|\\r[^\\n]' } || { var(${TOO_MANY_NAMED}) -m bool }`,
    "# Methods that are for proxies, not for apps; upgrades that would hide later requests from the rules here.",
    "http-request deny deny_status 405 if { method CONNECT TRACE }",
    "http-request del-header upgrade if { req.hdr(upgrade) -m sub -i h2c }",
    "http-request set-uri %[pathq] unless { url -m beg / } or { url * }",
  ];
}

/** Who asked, by the word of the fronts that are trusted: the last address of X-Forwarded-For that is none of theirs. */
function client(isFront: string): string[] {
  const isFronted = "{ var(sess.front) -m bool }";
  const last = (n: number) => `req.hdr_ip(x-forwarded-for,-${n})`;
  const proto = "req.hdr(x-forwarded-proto,-1),lower";
  return [
    `http-request set-var(txn.front) bool(true) if ${isFronted} || ${isFront}`,
    ...Array.from({ length: FRONTS_DEEP }, (_, n) => {
      const isNext = n === 0 ? "" : ` { ${last(n)} -m found }`;
      return `http-request set-src ${last(n + 1)} if ${isFront}${isNext} { ${last(n + 1)} -m found }`;
    }),
    "http-request set-var(txn.proto) ssl_fc,iif(https,http)",
    `http-request set-var(txn.proto) ${proto} if { var(txn.front) -m bool } { ${proto} -m str http https }`,
    "http-request set-var(txn.front_host) req.hdr(x-forwarded-host,-1) if { var(txn.front) -m bool } { req.hdr(x-forwarded-host,-1) -m reg ^[A-Za-z0-9._:-]{1,260}$ }",
    "http-request set-var(txn.front_port) req.hdr(x-forwarded-port,-1) if { var(txn.front) -m bool } { req.hdr(x-forwarded-port,-1) -m reg ^[0-9]{1,5}$ }",
    "http-request set-var(txn.front_port) var(txn.proto),regsub(^https$,443),regsub(^http$,80) if { var(txn.front) -m bool } !{ var(txn.front_port) -m found }",
  ];
}

function ownHeaders(options: RenderOptions): string[] {
  const { trustedFronts = [] } = options;
  const hasFronts = trustedFronts.length > 0;
  return [
    "# All that this router alone may say goes in one pass; then nothing is left to replace, only to add.",
    "http-request del-header ^(connection|keep-alive|proxy-connection|forwarded|proxy|http2-settings)$|^x[-_](forwarded|real|request)[-_] -m reg",
    "http-request add-header connection upgrade if { var(txn.upgrade) -m bool }",
    "http-request add-header x-request-id %[var(txn.id)]",
    "http-request add-header x-request-start %[date(0,ms)]",
    "http-request add-header x-real-ip %[src]",
    "http-request add-header x-forwarded-for %[src]",
    `http-request add-header x-forwarded-proto %[${protocolOf(options).name}]`,
    ...(hasFronts
      ? [
          "http-request add-header x-forwarded-port %[var(txn.front_port)] if { var(txn.front_port) -m found }",
          "http-request add-header x-forwarded-host %[var(txn.front_host)] if { var(txn.front_host) -m found }",
        ]
      : []),
    `http-request add-header x-forwarded-port %[dst_port]${hasFronts ? " unless { var(txn.front_port) -m found }" : ""}`,
    `http-request add-header x-forwarded-host %[req.fhdr(host)] if { req.fhdr(host) -m found }${hasFronts ? " !{ var(txn.front_host) -m found }" : ""}`,
  ];
}

function route({ directory }: RenderOptions): string[] {
  const routes = `map_beg(${directory}/${mapFile("routes")})`;
  const isHost = "{ req.fhdr(host) -m reg ^[A-Za-z0-9._-]+(:[0-9]*)?$ }";
  return [
    "# Kept for proving who a domain belongs to: no app answers here, whatever its routes.",
    'http-request return status 404 content-type text/plain string "reserved for getting certificates\\n" if { path -m beg /.well-known/acme-challenge/ }',
    `http-request set-var(txn.route) var(txn.host),concat(,txn.path,/),${routes} if ${isHost}`,
    `http-request set-var(txn.parent) var(txn.host),field(2,.,0) if !{ var(txn.route) -m found } ${isHost}`,
    `http-request set-var(txn.route) str(*.),concat(,txn.parent,),concat(,txn.path,/),${routes} if { var(txn.parent) -m found }`,
    'http-request return status 404 content-type text/plain lf-string "no app has a route for %[var(txn.host)]\\n" unless { var(txn.route) -m found }',
    "http-request set-var(txn.pool) var(txn.route),field(1,:)",
    "# All that follows is for routes with options.",
    "http-request allow unless { var(txn.route) -m sub : }",
    "http-request set-var(txn.flags) var(txn.route),field(2,:)",
    "http-request set-var(txn.hsts) var(txn.route),field(3,:) if { var(txn.flags) -m found }",
  ];
}

/** Where a request by http is sent on to, by the front's word of it or by ours. */
function redirects(options: RenderOptions): string[] {
  const { httpsPort, trustedFronts = [] } = options;
  const rule = (port: string, condition: string) =>
    `http-request redirect code 308 location https://%[var(txn.host)]${port}%[pathq] if { var(txn.flags) -m sub r } !${protocolOf(options).isHttps}${condition}`;
  const port = httpsPort === 443 ? "" : `:${httpsPort}`;
  if (trustedFronts.length === 0) return httpsPort === undefined ? [] : [rule(port, "")];
  return [
    rule("", " { var(txn.front) -m bool }"),
    ...(httpsPort === undefined ? [] : [rule(port, " !{ var(txn.front) -m bool }")]),
  ];
}

function routeOptions(options: RenderOptions): string[] {
  const { directory } = options;
  const reply = (name: string) => replyOf(directory, name);
  const sticky = lookUp(directory, "sticky");
  const page = `hdr content-security-policy "${SANDBOX}" hdr x-content-type-options nosniff lf-string "%[${reply("maintenance")},b64dec]\\n"`;
  const isOwn = "{ status 502:504 } { var(txn.own) -m found }";
  return [
    ...redirects(options),
    `http-request return status 503 content-type "text/html; charset=utf-8" hdr retry-after ${MAINTENANCE_RETRY_S} hdr cache-control no-store ${page} if { var(txn.flags) -m sub m } { ${reply("maintenance")} -m found }`,
    "http-request set-var(txn.token) req.cook(flynn_sticky) if { var(txn.flags) -m sub s }",
    "http-request set-var(txn.rate) var(txn.route),field(6,:)",
    "http-request set-var(txn.canary) var(txn.route),field(5,:)",
    ...canary(sticky),
    `http-request set-var(txn.server) var(txn.pool),concat(/,txn.token),${sticky} if { var(txn.token) -m found }`,
    "http-after-response allow if { var(txn.answered) -m found } !{ var(txn.flags) -m found }",
    `http-after-response set-header strict-transport-security max-age=%[var(txn.hsts)] if { var(txn.hsts) -m len gt 0 } ${protocolOf(options).isHttps}`,
    "# An error page of the app's own, where HAProxy answers in its place: what an app itself answers is left as it is.",
    `http-after-response set-var(txn.own) int(1) if { status 502:504 } !{ var(txn.answered) -m found } { ${reply("own")} -m found }`,
    `http-after-response set-header content-type "text/html; charset=utf-8" if ${isOwn}`,
    `http-after-response set-header content-security-policy "${SANDBOX}" if ${isOwn}`,
    `http-after-response set-header x-content-type-options nosniff if ${isOwn}`,
  ];
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
