// A control plane for hostd's tests: a CA, joining, the target stream and the reports, over real mutual TLS on loopback.
import "reflect-metadata";
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { createServer } from "node:https";
import { text } from "node:stream/consumers";
import type { TLSSocket } from "node:tls";
import * as x509 from "@peculiar/x509";
import { CONTROL_NAME, hostServerName } from "#api/client.ts";
import type { HostReport, HostTarget } from "#api/host-agents.ts";
import type { JoinReply, JoinRequest } from "#api/members.ts";
import { formatEvent } from "#api/stream.ts";
import { importKeyPair, KEY_ALGORITHM, newKeyPem } from "#lib/x509.ts";

const HOUR_MS = 3_600_000;

export interface TestCa {
  caPem: string;
  issue(options: {
    subject: string;
    names: string[];
    key?: x509.PublicKey;
    /** An hour before now, and after, unless given. */
    notBefore?: Date;
    notAfter?: Date;
  }): Promise<{ certificate: string; key: string }>;
}

export async function testCa(): Promise<TestCa> {
  const caKeys = await importKeyPair(newKeyPem());
  const serial = () => randomBytes(8).toString("hex");
  const validity = () => ({ notBefore: new Date(Date.now() - HOUR_MS), notAfter: new Date(Date.now() + HOUR_MS) });
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: "CN=test CA",
    ...validity(),
    keys: caKeys as never,
    signingAlgorithm: KEY_ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  return {
    caPem: ca.toString("pem"),
    async issue({ subject, names, key, ...times }) {
      const keyPem = newKeyPem();
      const publicKey = key ?? ((await importKeyPair(keyPem)).publicKey as never);
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: serial(),
        subject,
        issuer: ca.subject,
        ...validity(),
        ...times,
        publicKey,
        signingKey: caKeys.privateKey as never,
        signingAlgorithm: KEY_ALGORITHM,
        extensions: [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns" as const, value })))],
      });
      return { certificate: certificate.toString("pem"), key: keyPem };
    },
  };
}

export interface FakeControl {
  ca: TestCa;
  url: string;
  port: number;
  hostId: string;
  token: string;
  joins: number;
  reports: HostReport[];
  /** Sends a target to every follower and to those who come. */
  push(target: Partial<HostTarget>): void;
  /** Ends the listener and all connections, as a dead control would. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

export async function fakeControl(): Promise<FakeControl> {
  const ca = await testCa();
  const own = await ca.issue({ subject: "O=flynn:control,CN=control", names: [CONTROL_NAME] });
  const followers = new Set<ServerResponse>();
  let server: ReturnType<typeof createServer> | undefined;
  let target: HostTarget | undefined;

  const control: FakeControl = {
    ca,
    url: "",
    port: 0,
    hostId: "host-1",
    token: "fjt_once",
    joins: 0,
    reports: [],
    push(next) {
      target = {
        term: 1,
        seq: (target?.seq ?? 0) + 1,
        hostId: control.hostId,
        subnet: "100.64.7.0/24",
        clusterRange: "100.64.0.0/16",
        peers: [],
        registry: "127.0.0.1:5000",
        jobs: [],
        ...next,
      };
      for (const follower of followers)
        follower.write(formatEvent({ id: String(target.seq), event: "item", data: target }));
    },
    async start() {
      server = createServer(
        { cert: own.certificate, key: own.key, ca: ca.caPem, requestCert: true, rejectUnauthorized: false },
        async (req, res) => {
          const peer = (req.socket as TLSSocket).getPeerCertificate().subject as
            | { CN?: string; O?: string }
            | undefined;
          const reply = (status: number, body: unknown) => {
            res.writeHead(status, { "content-type": "application/json" });
            res.end(JSON.stringify(body));
          };
          if (req.url === "/v1/hosts/join") {
            const body = JSON.parse(await text(req)) as JoinRequest;
            if (body.token !== control.token)
              return reply(401, { code: "unauthenticated", message: "token is used or unknown", retry: false });
            control.token = "";
            control.joins++;
            const csr = new x509.Pkcs10CertificateRequest(body.csr);
            const subject = `O=flynn:host,CN=${control.hostId}`;
            const names = [hostServerName(control.hostId)];
            const { certificate } = await ca.issue({ subject, names, key: csr.publicKey });
            const expiresAt = new Date(Date.now() + HOUR_MS).toISOString();
            const { caPem } = ca;
            return reply(201, {
              id: control.hostId,
              certificate,
              caPem,
              expiresAt,
              clusterRange: "100.64.0.0/16",
            } satisfies JoinReply);
          }
          if (!(req.socket as TLSSocket).authorized || peer?.CN !== control.hostId)
            return reply(401, { code: "unauthenticated", message: "who are you", retry: false });
          if (req.url === `/v1/hosts/${control.hostId}/report`) {
            control.reports.push(JSON.parse(await text(req)) as HostReport);
            return reply(200, { term: target?.term ?? 0, seq: target?.seq ?? 0 });
          }
          if (req.url === `/v1/hosts/${control.hostId}/target`) {
            res.writeHead(200, { "content-type": "text/event-stream" });
            res.write(": hello\n\n");
            if (target) res.write(formatEvent({ id: String(target.seq), event: "item", data: target }));
            followers.add(res);
            res.on("close", () => followers.delete(res));
            return;
          }
          reply(404, { code: "not-found", message: `${req.url}`, retry: false });
        },
      );
      const listening = server;
      await new Promise<void>((resolve) => listening.listen(control.port, "127.0.0.1", resolve));
      control.port = (listening.address() as { port: number }).port;
      control.url = `https://127.0.0.1:${control.port}`;
    },
    async stop() {
      const ending = server;
      server = undefined;
      if (ending === undefined) return;
      await new Promise<void>((resolve) => {
        ending.close(() => resolve());
        ending.closeAllConnections();
      });
    },
  };
  await control.start();
  return control;
}
