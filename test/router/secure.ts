// Certificates for a router's target, and a client that looks at what it is shown.
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import type { RouterTarget } from "#api/router-agents.ts";
import { type Made, makeCertificate } from "../control/routing/certificates.ts";

type Certificate = NonNullable<RouterTarget["certificates"]>[number];

export async function certificateFor(id: string, names: string[]): Promise<Certificate> {
  return entry(id, names, await makeCertificate({ names }));
}

export const entry = (id: string, names: string[], { certificate, key }: Made): Certificate => ({
  id,
  names,
  pem: certificate + key,
});

export interface Shown {
  names: string;
  fingerprint: string;
  protocol: string;
  alpn: string | false | null;
}

export async function handshake(
  port: number,
  servername: string,
  options: { maxVersion?: "TLSv1.1" | "TLSv1.2"; alpn?: string[] } = {},
): Promise<Shown> {
  const { maxVersion, alpn } = options;
  const socket: TLSSocket = connect({
    host: "127.0.0.1",
    port,
    servername,
    rejectUnauthorized: false,
    ...(maxVersion ? { maxVersion, minVersion: "TLSv1", ciphers: "DEFAULT@SECLEVEL=0" } : {}),
    ...(alpn ? { ALPNProtocols: alpn } : {}),
  });
  socket.setTimeout(5_000, () => socket.destroy(new Error("no handshake within 5 s")));
  await once(socket, "secureConnect");
  const { subjectaltname = "", fingerprint256 } = socket.getPeerCertificate();
  const shown = {
    names: subjectaltname,
    fingerprint: fingerprint256,
    protocol: socket.getProtocol() ?? "",
    alpn: socket.alpnProtocol,
  };
  socket.destroy();
  return shown;
}
