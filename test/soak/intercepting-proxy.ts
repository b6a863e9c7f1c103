// A company's proxy that opens TLS: for each host that a client connects to it shows a certificate of its own authority, reads the request
// and asks the real host, as this machine reaches it. On loopback only.
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request as plainRequest, type ServerResponse } from "node:http";
import { request as tlsRequest } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createServer as createTlsServer, type Server as TlsServer } from "node:tls";
import { makeAuthority } from "../package-registry.ts";

export interface InterceptingProxy {
  url: string;
  caFile: string;
  /** Hosts whose TLS was opened, with the requests read. */
  opened: Map<string, number>;
  /** Connections that a client ended for want of trust. */
  refused: number;
  close(): Promise<void>;
}

export async function startInterceptingProxy(folder: string): Promise<InterceptingProxy> {
  const servers = new Map<string, Promise<TlsServer>>();
  const proxy: InterceptingProxy = { url: "", caFile: "", opened: new Map(), refused: 0, close };
  const pass = (from: IncomingMessage, response: ServerResponse, target: URL): void => {
    const ask = target.protocol === "https:" ? tlsRequest : plainRequest;
    const { "proxy-connection": _, ...headers } = from.headers;
    const upstream = ask(target, { method: from.method, headers: { ...headers, host: target.host } }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.headers);
      pipeline(reply, response).catch(() => response.destroy());
    });
    upstream.once("error", (error) =>
      response.headersSent ? response.destroy() : response.writeHead(502).end(error.message),
    );
    pipeline(from, upstream).catch(() => upstream.destroy());
  };
  const inner = createServer((from, response) => {
    const host = from.headers.host ?? "";
    proxy.opened.set(host, (proxy.opened.get(host) ?? 0) + 1);
    pass(from, response, new URL(from.url ?? "/", `https://${host}`));
  });
  const serverFor = (host: string): Promise<TlsServer> => {
    const known = servers.get(host);
    if (known !== undefined) return known;
    const made = tlsServer(folder, host).then(({ server, ca }) => {
      proxy.caFile = ca;
      server.on("secureConnection", (socket) => inner.emit("connection", socket));
      server.on("tlsClientError", () => proxy.refused++);
      return new Promise<TlsServer>((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
    });
    servers.set(host, made);
    return made;
  };
  const outer = createServer((from, response) => pass(from, response, new URL(from.url ?? "/")));
  outer.on("connect", (from, socket, head) => {
    const [host = ""] = (from.url ?? "").split(":");
    serverFor(host).then(
      (server) => {
        const through = connect((server.address() as AddressInfo).port, "127.0.0.1", () => {
          socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
          through.write(head);
          pipeline(socket, through, socket).catch(() => through.destroy());
        });
        through.once("error", () => socket.destroy());
      },
      () => socket.destroy(),
    );
    socket.once("error", () => socket.destroy());
  });
  async function close(): Promise<void> {
    outer.closeAllConnections();
    inner.closeAllConnections();
    outer.close();
    for (const server of await Promise.all(servers.values())) server.close();
  }
  proxy.caFile = (await makeAuthority(folder, "proxy.test")).ca;
  await new Promise<void>((resolve) => outer.listen(0, "127.0.0.1", resolve));
  proxy.url = `http://127.0.0.1:${(outer.address() as AddressInfo).port}`;
  return proxy;
}

async function tlsServer(folder: string, host: string): Promise<{ server: TlsServer; ca: string }> {
  const { ca, key, crt } = await makeAuthority(folder, host);
  const server = createTlsServer({ key: await readFile(join(key)), cert: await readFile(crt) });
  return { server, ca };
}
