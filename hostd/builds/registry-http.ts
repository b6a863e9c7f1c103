// GET over HTTPS from a registry, its token service and wherever it redirects to, each looked up, checked and connected to by the very
// address that was checked. Credentials go to the host they are for, never to where it redirects.
import { readdir, readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { isIP } from "node:net";
import { join } from "node:path";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { Fault } from "#api/fault.ts";

export interface RegistryHttpOptions {
  /** The address to connect to; throws when there is none that may be. */
  addressOf: (host: string) => Promise<string>;
  /** Where Docker is given a registry's own CA: DIR/host:port/*.crt. */
  certsDir?: string;
  /** Trusted beside the machine's own: the operator's, for builds. */
  caPem?: string;
  silenceMs?: number;
}

export interface RegistryHttp {
  get(url: URL, options: { headers?: Record<string, string>; signal: AbortSignal }): Promise<IncomingMessage>;
}

const minVersion = "TLSv1.2";
const REDIRECTS_MOST = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export function registryHttp({ addressOf, certsDir, caPem, silenceMs = 60_000 }: RegistryHttpOptions): RegistryHttp {
  // Reading all authorities takes a tenth of a second: once per place.
  const contexts = new Map<string, Promise<SecureContext>>();
  let everybodys: SecureContext | undefined;
  const contextOf = async (place: string): Promise<SecureContext> => {
    const directory = certsDir === undefined ? undefined : join(certsDir, place);
    const files = directory === undefined ? [] : await readdir(directory).catch(() => []);
    const own = files.filter((file) => file.endsWith(".crt")).map((file) => readFile(join(directory!, file), "utf8"));
    const operators = caPem === undefined ? [] : [caPem];
    const trusted = () => [...new Set([...getCACertificates("default"), ...getCACertificates("system"), ...operators])];
    if (own.length > 0) return createSecureContext({ ca: [...trusted(), ...(await Promise.all(own))], minVersion });
    everybodys ??= createSecureContext({ ca: trusted(), minVersion });
    return everybodys;
  };
  const trust = (place: string): Promise<SecureContext> => {
    const known = contexts.get(place) ?? contextOf(place);
    contexts.set(place, known);
    return known;
  };

  const once = async (url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> => {
    if (url.protocol !== "https:" || url.username !== "" || url.password !== "")
      throw new Fault("invalid", `${url.protocol}//${url.host} is not fetched from: only https is`);
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const [address, secureContext] = await Promise.all([addressOf(host), trust(url.host)]);
    const to = {
      host: address,
      port: url.port === "" ? 443 : Number(url.port),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, "user-agent": "flynn-hostd", ...headers },
      // Whom the certificate must name: the name that was asked for, not the address.
      ...(isIP(host) > 0 ? {} : { servername: host }),
      agent: false,
      secureContext,
      signal,
    };
    return new Promise((resolve, reject) => {
      // A head that dribbles is no silence.
      const late = setTimeout(() => req.destroy(new Error(`no answer within ${silenceMs / 1_000} s`)), silenceMs);
      const fail = (cause: unknown) => {
        clearTimeout(late);
        reject(new Fault("unavailable", `GET ${url.origin}`, { cause }));
      };
      const req = request(to, (reply) => {
        clearTimeout(late);
        reply.on("error", () => undefined); // told to whoever reads it
        resolve(reply);
      });
      req.setTimeout(silenceMs, () => req.destroy(new Error(`nothing came for ${silenceMs / 1_000} s`)));
      req.on("error", fail);
      req.end();
    });
  };

  return {
    async get(asked, { headers = {}, signal }) {
      let url = asked;
      let sent = headers;
      for (let hops = 0; hops <= REDIRECTS_MOST; hops++) {
        const reply = await once(url, sent, signal);
        const { location } = reply.headers;
        if (!REDIRECTS.has(reply.statusCode ?? 0) || location === undefined) return reply;
        reply.destroy();
        const next = new URL(location, url);
        if (next.host !== url.host) {
          const { authorization: _, ...rest } = sent;
          sent = rest;
        }
        url = next;
      }
      throw new Fault("unavailable", `${asked.origin} redirects without end`);
    },
  };
}

/** A body of text, refused beyond its most. */
export async function boundedText(reply: AsyncIterable<Buffer>, mostBytes: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of reply) {
    size += chunk.length;
    if (size > mostBytes) throw new Fault("invalid", `${what} is larger than ${mostBytes >> 20} MiB`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
