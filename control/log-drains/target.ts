// A drain's URL: what it asks for, and what of it people may read again. Pure.
import { Fault } from "#api/fault.ts";

export interface LogDrainTarget {
  kind: "syslog" | "syslog+tls" | "https";
  host: string;
  port: number;
  /** https: path and query. */
  path: string;
  /** https: `user:password`, as given in the URL. */
  credentials?: string;
}

const PORTS = { syslog: 601, "syslog+tls": 6514, https: 443 } as const; // RFC 6587, RFC 5425

export function parseTarget(text: string): LogDrainTarget {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const kind = url?.protocol.slice(0, -1);
  if (url === undefined || (kind !== "syslog" && kind !== "syslog+tls" && kind !== "https"))
    throw new Fault("invalid", "a drain's URL is syslog://host:port, syslog+tls://host:port or https://host/path");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (host === "" || !/^[a-zA-Z0-9._:-]+$/.test(host)) throw new Fault("invalid", "a drain's URL names a host");
  const bare = url.pathname === "" || url.pathname === "/";
  if (kind !== "https" && (url.username !== "" || url.password !== "" || !bare || url.search !== ""))
    throw new Fault("invalid", "a syslog drain's URL is host and port alone: syslog has no login and no path");
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return {
    kind,
    host,
    port: url.port === "" ? PORTS[kind] : Number(url.port),
    path: `${url.pathname}${url.search}`,
    ...(credentials === ":" ? {} : { credentials }),
  };
}

/** The URL as people may read it: no login, no value of the query, no part of the path that could be a key. */
export function maskUrl(text: string): string {
  const url = new URL(text);
  const login = url.username === "" && url.password === "" ? "" : "***@";
  const path = url.pathname
    .split("/")
    .map((part) => (part.length >= 16 ? "***" : part))
    .join("/");
  const query = [...url.searchParams.keys()].map((name) => `${encodeURIComponent(name).slice(0, 30)}=***`).join("&");
  return `${url.protocol}//${login}${url.host}${path === "/" ? "" : path}${query === "" ? "" : `?${query}`}`;
}
