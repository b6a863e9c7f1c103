// Hosts that have a root image in memory and serve it (hostd/image-peer): those whose boot of it joined within the last hour, on our own
// wire, and that answer when they are asked. Nothing is believed of them: the initrd checks what it gets.
import { request } from "node:http";
import { IMAGE_PEER_PORT, imagePeerPath } from "#api/image-peers.ts";
import type { BootRecord } from "./identity/tokens.ts";

/** Whether this host serves the image right now. Never throws, never outlives its time. */
export type Probe = (address: string, sha256: string) => Promise<boolean>;

export interface RootPeers {
  /** Addresses of hosts that have it, the newest first, asked a moment ago at most. */
  of(sha256: string, except: string): Promise<string[]>;
}

export interface RootPeersOptions {
  boots: () => readonly BootRecord[];
  squashfsOf: (imageId: string) => string | undefined;
  probe?: Probe;
  nowMs?: () => number;
}

const ASKED_MOST = 32;
const GOOD_FOR_MS = 10_000;
const BAD_FOR_MS = 60_000;
const PROBE_MS = 500;
const KEPT_MOST = 4096;

export function rootPeers({
  boots,
  squashfsOf,
  probe = probeHttp,
  nowMs = () => performance.now(),
}: RootPeersOptions): RootPeers {
  const answers = new Map<string, { good: boolean; atMs: number }>();

  async function serves(address: string, sha256: string): Promise<boolean> {
    const key = `${address} ${sha256}`;
    const known = answers.get(key);
    if (known !== undefined && nowMs() - known.atMs < (known.good ? GOOD_FOR_MS : BAD_FOR_MS)) return known.good;
    const good = await probe(address, sha256);
    answers.delete(key);
    answers.set(key, { good, atMs: nowMs() });
    if (answers.size > KEPT_MOST) answers.delete(answers.keys().next().value!);
    return good;
  }

  return {
    async of(sha256, except) {
      const joined = boots().filter(
        ({ joined, revoked, hardware, imageId, address }) =>
          joined && !revoked && hardware !== undefined && address !== except && squashfsOf(imageId) === sha256,
      );
      const addresses = [...new Set(joined.map(({ address }) => address).reverse())].slice(0, ASKED_MOST);
      const good = await Promise.all(addresses.map((address) => serves(address, sha256)));
      return addresses.filter((_, index) => good[index]);
    },
  };
}

const probeHttp: Probe = (address, sha256) =>
  new Promise((resolve) => {
    const asked = request(
      {
        method: "HEAD",
        host: address,
        port: IMAGE_PEER_PORT,
        path: imagePeerPath(sha256),
        timeout: PROBE_MS,
        agent: false,
      },
      ({ statusCode }) => {
        resolve(statusCode === 200);
        asked.destroy();
      },
    );
    const late = setTimeout(() => asked.destroy(), PROBE_MS);
    asked.once("error", () => resolve(false));
    asked.once("close", () => {
      clearTimeout(late);
      resolve(false);
    });
    asked.end();
  });
