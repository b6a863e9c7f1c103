// A Redfish service that behaves as well, or as badly, as a test wants: over TLS with a certificate of its own, sessions, ETags, tasks.

import { X509Certificate } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { BmcAccess } from "#api/bmc-work.ts";
import { makeCertificate } from "../../control/routing/certificates.ts";

export interface RedfishFake extends AsyncDisposable {
  bmc: BmcAccess;
  /** The system as it shows it; a test changes it as it likes. */
  system: Record<string, unknown>;
  /** Its virtual drives, by id. */
  drives: Record<string, Record<string, unknown>>;
  /** `POST /redfish/...` of each request, in order. */
  asked: string[];
  /** Answers instead of the fake; false leaves it to the fake. */
  before: (request: IncomingMessage, reply: ServerResponse, body: string) => boolean | Promise<boolean>;
  /** Reset types it was told. */
  resets: string[];
  /** Sessions that are open. */
  sessions: Set<string>;
  /** Ends all of them. */
  forgetSessions(): void;
  etag: string;
  /** Shows another certificate from now on. */
  changeCertificate(): Promise<string>;
}

export const SYSTEM = "/redfish/v1/Systems/1";
const MEDIA = `${SYSTEM}/VirtualMedia`;
const mediaActions = (drive: string) =>
  Object.fromEntries(
    ["Insert", "Eject"].map((action) => [
      `#VirtualMedia.${action}Media`,
      { target: `${MEDIA}/${drive}/Actions/VirtualMedia.${action}Media` },
    ]),
  );
const made: { certificate: string; key: string }[] = [];

export function send(
  reply: ServerResponse,
  status: number,
  value?: unknown,
  headers: Record<string, string> = {},
): true {
  reply.writeHead(status, { "content-type": "application/json", ...headers });
  reply.end(value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));
  return true;
}

async function certificate(n: number): Promise<{ certificate: string; key: string }> {
  while (made.length <= n) {
    const { certificate: chain, key } = await makeCertificate({ names: ["bmc.test"], days: 30 });
    made.push({ certificate: chain, key });
  }
  return made[n]!;
}
const pinOf = (pem: string): string => new X509Certificate(pem).fingerprint256.replaceAll(":", "").toLowerCase();

export async function redfishFake(): Promise<RedfishFake> {
  const first = await certificate(0);
  const server: Server = createServer({ cert: first.certificate, key: first.key }, (request, reply) => {
    answer(request, reply).catch(() => reply.destroy());
  });
  server.on("clientError", (_, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const fake: RedfishFake = {
    bmc: {
      kind: "redfish",
      address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
      user: "flynn",
      password: "geheim12",
      pinSha256: pinOf(first.certificate),
      macs: [],
    },
    system: {
      "@odata.id": SYSTEM,
      VirtualMedia: { "@odata.id": MEDIA },
      Id: "1",
      PowerState: "Off",
      Boot: {
        BootSourceOverrideEnabled: "Disabled",
        BootSourceOverrideTarget: "None",
        BootSourceOverrideMode: "UEFI",
        "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd", "BiosSetup", "UefiHttp"],
      },
      Actions: {
        "#ComputerSystem.Reset": {
          target: `${SYSTEM}/Actions/ComputerSystem.Reset`,
          "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown", "ForceRestart"],
        },
      },
    },
    drives: {
      Floppy: { MediaTypes: ["Floppy", "USBStick"], Inserted: false, Image: null, Actions: mediaActions("Floppy") },
      Cd: { MediaTypes: ["CD", "DVD"], Inserted: false, Image: null, Actions: mediaActions("Cd") },
    },
    asked: [],
    before: () => false,
    resets: [],
    sessions: new Set(),
    etag: '"1"',
    forgetSessions: () => fake.sessions.clear(),
    async changeCertificate() {
      const other = await certificate(1);
      server.setSecureContext({ cert: other.certificate, key: other.key });
      return pinOf(other.certificate);
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };

  async function answer(request: IncomingMessage, reply: ServerResponse): Promise<unknown> {
    const body = await text(request);
    const { method = "", url = "" } = request;
    fake.asked.push(`${method} ${url}`);
    if (await fake.before(request, reply, body)) return undefined;
    if (method === "GET" && /^\/redfish\/v1\/?$/.test(url))
      return send(reply, 200, {
        Systems: { "@odata.id": "/redfish/v1/Systems" },
        Links: { Sessions: { "@odata.id": "/redfish/v1/SessionService/Sessions" } },
      });
    if (method === "POST" && url === "/redfish/v1/SessionService/Sessions") {
      const { UserName, Password } = JSON.parse(body) as { UserName: string; Password: string };
      if (UserName !== fake.bmc.user || Password !== fake.bmc.password) return send(reply, 401, {});
      const token = `token-${fake.asked.length}`;
      fake.sessions.add(token);
      return send(reply, 201, {}, { "x-auth-token": token, location: `/redfish/v1/SessionService/Sessions/${token}` });
    }
    const token = request.headers["x-auth-token"];
    if (typeof token !== "string" || !fake.sessions.has(token)) return send(reply, 401, {});
    if (method === "DELETE") {
      fake.sessions.delete(url.split("/").at(-1)!);
      return send(reply, 204);
    }
    if (method === "GET" && url === "/redfish/v1/Systems")
      return send(reply, 200, { Members: [{ "@odata.id": SYSTEM }] });
    if (method === "GET" && url === SYSTEM) return send(reply, 200, fake.system, { etag: fake.etag });
    if (method === "PATCH" && url === SYSTEM) {
      const match = request.headers["if-match"];
      if (match !== fake.etag) return send(reply, match === undefined ? 428 : 412, {});
      Object.assign(fake.system["Boot"] as object, (JSON.parse(body) as { Boot: object }).Boot);
      fake.etag = `"${Number(fake.etag.slice(1, -1)) + 1}"`;
      return send(reply, 204);
    }
    if (method === "POST" && url === `${SYSTEM}/Actions/ComputerSystem.Reset`) {
      const { ResetType } = JSON.parse(body) as { ResetType: string };
      fake.resets.push(ResetType);
      if (ResetType === "On") fake.system["PowerState"] = "On";
      if (ResetType === "ForceOff" || ResetType === "GracefulShutdown") fake.system["PowerState"] = "Off";
      return send(reply, 204);
    }
    if (method === "GET" && url === MEDIA)
      return send(reply, 200, { Members: Object.keys(fake.drives).map((id) => ({ "@odata.id": `${MEDIA}/${id}` })) });
    const [, id = "", action] = /VirtualMedia\/(\w+)(?:\/Actions\/VirtualMedia\.(Insert|Eject)Media)?$/.exec(url) ?? [];
    const drive = fake.drives[id];
    if (drive !== undefined && method === "GET") return send(reply, 200, drive, { etag: '"d"' });
    if (drive !== undefined && (method === "PATCH" || action === "Insert")) Object.assign(drive, JSON.parse(body));
    if (drive !== undefined && action === "Eject") Object.assign(drive, { Inserted: false, Image: null });
    if (drive !== undefined) return send(reply, 204);
    return send(reply, 404, { error: { message: "no such thing" } });
  }
  return fake;
}
