// What is where in HAProxy: backends and slots by position, and the names that follow from it.
import type { RouterTarget } from "#api/router-agents.ts";

/** `drain`: in the target, no new requests. `leaving`: no longer in the target, kept until its last request ends. */
export type SlotState = "up" | "drain" | "leaving";
export interface Slot {
  jobId: string;
  address: string;
  port: number;
  state: SlotState;
}
export interface Backend {
  /** Absent while the backend is free. */
  pool?: { id: string; app: string };
  /** How its jobs are spoken to; HTTP/1.1 when absent. Only a reload changes it. */
  protocol?: "h2c";
  slots: (Slot | null)[];
}
/** A port of its own, with slots of its own: connections are passed on as they are. */
export interface TcpBackend extends Backend {
  port: number;
  proxyProtocol?: "v1" | "v2";
}
/** Position is identity: backend n is `be_000(n+1)`, slot n of it `s(n+1)`. Never shorter than before. */
export interface Assignment {
  backends: Backend[];
  /** By port, ascending; those without a pool wait for a route. A port that comes or goes here is a reload. */
  tcp?: TcpBackend[];
}
export interface Refusal {
  what: string;
  why: string;
}
export type TargetRoute = RouterTarget["routes"][number];

export const HOST = /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
export const backendName = (index: number): string => `be_${String(index + 1).padStart(4, "0")}`;
export const tcpName = (port: number): string => `tcp_${port}`;
export const isTcp = (backend: string): boolean => backend.startsWith("tcp_");
export const slotName = (index: number): string => `s${index + 1}`;
const APP = /^[a-z][a-z0-9-]{0,29}$/;
export const printableApp = (app: string): string => (APP.test(app) ? app : "this app");
/** A pool whose jobs are spoken to in two ways has two backends. */
export const poolKey = (poolId: string, protocol: string | undefined): string =>
  protocol === "h2c" ? `${poolId}\0h2c` : poolId;
export const routeKey = (domain: string, path: string): string => `${domain}${path.replace(/\/*$/, "/")}`;
export const printable = (text: string): string => text.slice(0, 300).replace(/[^\x21-\x7e]/g, "?");

/** Every backend with the name HAProxy knows it by. */
export function namedBackends({ backends, tcp = [] }: Assignment): [string, Backend][] {
  return [
    ...backends.map((backend, b): [string, Backend] => [backendName(b), backend]),
    ...tcp.map((backend): [string, Backend] => [tcpName(backend.port), backend]),
  ];
}
