// What the configuration depends on beside the routes, and how addresses stand in it.

export interface RenderOptions {
  /** Directory of the maps and sockets, absolute. */
  directory: string;
  bind: string;
  httpPort: number;
  /** Absent: no HTTPS; routes that redirect to it are answered as they are. */
  httpsPort?: number;
  /** CIDRs whose connections begin with the PROXY protocol; everybody else's begin with what they are. */
  proxySources?: readonly string[];
  /** Addresses and CIDRs whose X-Forwarded-For, -Proto, -Host and -Port are believed. */
  trustedFronts?: readonly string[];
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
export const DEFAULT_CERTIFICATE = "default.pem";

export const listenOn = (bind: string, port: number): string =>
  bind.includes(":") ? `[${bind}]:${port} v4v6` : `${bind}:${port}`;

/** What the client speaks: by a trusted front's word, where there are any. */
export const protocolOf = ({ trustedFronts = [] }: RenderOptions): { name: string; isHttps: string } =>
  trustedFronts.length === 0
    ? { name: "ssl_fc,iif(https,http)", isHttps: "{ ssl_fc }" }
    : { name: "var(txn.proto)", isHttps: "{ var(txn.proto) -m str https }" };

export const expectProxy = (sources: readonly string[]): string =>
  `tcp-request connection expect-proxy layer4 if { src ${sources.join(" ")} }`;
