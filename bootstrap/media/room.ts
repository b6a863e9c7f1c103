// ISOs of machines, each for one turn of one order of a BMC's virtual drive: for networks that no broadcast of ours reaches. Who has the
// ISO or its address can pose as that machine while the order lives; so its token ends with the turn, after half an hour at most, and it
// belongs to the first address that shows it. From then on that address is taken for the machine's card, until another machine shows its
// token there, as the neighbour table's word would be.
import { createHash, createHmac } from "node:crypto";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FileVersion } from "#lib/file-server/send-file.ts";
import type { Log } from "#lib/log.ts";
import { steadyNow } from "#lib/time.ts";
import { trouble } from "../bmc/trouble.ts";
import { openJournal } from "../journal.ts";
import { type MediaFirmware, machineIso } from "./parts.ts";

export interface Taken {
  mac: string;
  address: string;
}

/** Of one order, until `end`. */
export interface Medium {
  url: string;
  boots: readonly MediaFirmware[];
  /** Who asked for its machine's script with its token; undefined until somebody did. */
  taken(): Taken | undefined;
  end(): Promise<void>;
}

export interface MediaRoom {
  /** Each turn of an order has a token of its own: what was done with the one before counts for nothing. */
  begin(order: string, macs: readonly string[], turn?: number): Promise<Medium>;
  /** The ISO that this token opens. */
  iso(token: string): FileVersion | undefined;
  /** Somebody asks for its script as this card, with a token; else why it may not. Resolves once it is on disk. */
  claims(token: string, mac: string, address: string): Promise<{ ok: true } | { ok: false; why: string }>;
  /** The card that an address is taken for, by the token that it showed. */
  cardAt(address: string): string | undefined;
  /** Connections from elsewhere may carry a token now. */
  isOpen(address: string): boolean;
  close(): Promise<void>;
}

export interface MediaRoomOptions {
  base: string;
  stateDir: string;
  ipxeDir: string;
  bootFiles: ReadonlyMap<string, Buffer>;
  /** Of this boot server: an order has the same token after a restart. */
  key: Buffer;
  log: Log;
  nowMs?: () => number;
  lifeMs?: number;
}

interface Claim extends Taken {
  order: string;
  atMs: number;
}

interface Open {
  order: string;
  macs: readonly string[];
  file: FileVersion;
  untilMs: number;
}

const LIFE_MS = 30 * 60_000;
export const MEDIA_TOKEN = /^[A-Za-z0-9_-]{43}$/;

export async function openMediaRoom({
  base,
  stateDir,
  ipxeDir,
  bootFiles,
  key,
  log,
  nowMs = steadyNow,
  lifeMs = LIFE_MS,
}: MediaRoomOptions): Promise<MediaRoom> {
  const folder = join(stateDir, "media");
  await rm(folder, { recursive: true, force: true });
  const open = new Map<string, Open>();
  /** The newest is the last. */
  const claims = new Map<string, Claim>();
  const claimed = (claim: Claim) => {
    claims.delete(claim.order);
    claims.set(claim.order, claim);
  };
  const lives = ({ atMs }: Claim) => nowMs() - atMs < lifeMs;
  const journal = await openJournal<Claim>({
    path: join(stateDir, "media.journal"),
    replay: claimed,
    live: () => [...claims.values()].filter(lives),
    log,
  });
  const tokenOf = (order: string) => createHmac("sha256", key).update(`flynn media 1 ${order}`).digest("base64url");
  const openBy = (token: string): Open | undefined => {
    const one = MEDIA_TOKEN.test(token) ? open.get(token) : undefined;
    return one !== undefined && nowMs() < one.untilMs ? one : undefined;
  };
  const claimOf = (order: string) => {
    const claim = claims.get(order);
    return claim !== undefined && lives(claim) ? claim : undefined;
  };
  const cardAt = (address: string) => {
    let card: string | undefined;
    for (const claim of claims.values()) if (claim.address === address && lives(claim)) card = claim.mac;
    return card;
  };

  return {
    async begin(orderId, macs, turn) {
      const order = turn === undefined ? orderId : `${orderId}#${turn}`;
      const token = tokenOf(order);
      const ipxeIso = await readFile(join(ipxeDir, "ipxe.iso")).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined;
        throw error;
      });
      const { iso, boots } = machineIso({ ipxeIso, bootFiles, base, token });
      if (boots.length === 0)
        throw trouble(
          "bmc-unsupported",
          `the boot server has nothing to make an ISO of: ${join(ipxeDir, "ipxe.iso")} of Debian's package ipxe for a BIOS, and the loaders of \`flynn image build\` for UEFI`,
        );
      const path = join(folder, `${order}.iso`);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeFile(path, iso, { mode: 0o600 });
      const { mtimeMs } = await stat(path);
      const sha256 = createHash("sha256").update(iso).digest("hex");
      open.set(token, {
        order,
        macs,
        file: { path, sha256, sizeBytes: iso.length, mtimeMs },
        untilMs: nowMs() + lifeMs,
      });
      return {
        url: `${base}/m/${token}/boot.iso`,
        boots,
        taken: () => claimOf(order),
        async end() {
          open.delete(token);
          await rm(path, { force: true });
        },
      };
    },
    iso: (token) => openBy(token)?.file,
    async claims(token, mac, address) {
      const one = openBy(token);
      if (one === undefined) return { ok: false, why: "its ISO is of no order that lives" };
      if (!one.macs.includes(mac)) return { ok: false, why: `its ISO was made for ${one.macs.join(", ")}` };
      const before = claimOf(one.order);
      if (before !== undefined && (before.address !== address || before.mac !== mac))
        return { ok: false, why: `its ISO was used by card ${before.mac} at ${before.address} already` };
      if (before !== undefined && cardAt(address) === mac) return { ok: true };
      for (const [order, claim] of claims) if (!lives(claim)) claims.delete(order);
      const claim = before ?? { order: one.order, mac, address, atMs: nowMs() };
      claimed(claim);
      await journal.append(claim);
      return { ok: true };
    },
    cardAt,
    isOpen: (address) => cardAt(address) !== undefined || [...open.values()].some(({ untilMs }) => nowMs() < untilMs),
    close: () => journal.close(),
  };
}
