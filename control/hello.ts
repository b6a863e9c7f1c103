// What callers say of themselves (api/version.ts), checked at each request: who cannot be understood is told in words what to do.
// A member that is refused so still lives: its host keeps its jobs.
import type { IncomingHttpHeaders } from "node:http";
import type { Endpoint } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import type { JoinRole } from "#api/members.ts";
import {
  compareVersions,
  HELLO_HEADER,
  type Hello,
  incompatibility,
  type PartName,
  parseHello,
  silentHello,
} from "#api/version.ts";
import type { Principal } from "./identity/principal.ts";
import type { Presence } from "./presence.ts";

const PART_OF: Record<JoinRole, PartName> = { host: "hostd", router: "router", boot: "boot-server" };
const TEXTS_KEPT = 256;

export interface Hellos {
  own: Hello;
  /** Takes note of a member; Fault `incompatible` for who cannot be understood, or does not understand control. */
  admit(headers: IncomingHttpHeaders, principal: Principal, endpoint: Pick<Endpoint, "permission">): void;
  /** What to add to a refusal of something that control does not know: that whoever asks is newer. */
  newerThanControl(headers: IncomingHttpHeaders): string | undefined;
}

export function hellos(own: Hello, presence: Pick<Presence, "memberSeen" | "tokenSeen">): Hellos {
  const known = new Map<string, Hello | undefined>();
  const helloOf = (headers: IncomingHttpHeaders): Hello | undefined => {
    const text = headers[HELLO_HEADER];
    if (typeof text !== "string") return undefined;
    if (known.has(text)) return known.get(text);
    const hello = parseHello(text);
    if (known.size >= TEXTS_KEPT) known.clear();
    known.set(text, hello);
    return hello;
  };
  return {
    own,
    admit(headers, principal, { permission }) {
      const hello = helloOf(headers);
      const member = principal.kind === "member" ? principal : undefined;
      const peer = hello ?? (member && silentHello(PART_OF[member.role]));
      const refusal = peer && incompatibility(own, peer);
      if (member) {
        const { id, role, certificate } = member;
        presence.memberSeen(id, { role, certificate, ...(hello ? { hello } : {}), ...(refusal ? { refusal } : {}) });
      }
      if (principal.kind === "token") presence.tokenSeen(principal.id);
      // A program asks on by itself, until one of both is upgraded.
      if (refusal !== undefined)
        throw new Fault("incompatible", refusal, { retry: member !== undefined || permission === "join" });
    },
    newerThanControl(headers) {
      const hello = helloOf(headers);
      if (hello === undefined || compareVersions(hello.version, own.version) <= 0) return undefined;
      return `this control is flynn ${own.version}, older than the ${hello.version} that asks; update the appliance, or leave it out`;
    },
  };
}
