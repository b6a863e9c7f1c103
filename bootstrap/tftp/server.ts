// The TFTP server's sockets: requests on the well-known port, each transfer on a port of its own (its TID, RFC 1350
// section 4), or all on the one port where a firewall or NAT needs that. Read-only. No packet makes it throw, and
// every transfer ends by its own deadline.
import type dgram from "node:dgram";
import type { Log } from "#lib/log.ts";
import { deadline } from "#lib/time.ts";
import { normaliseName, type TftpClient, type TftpFile, type TftpFiles } from "./files.ts";
import { frameCache } from "./frames.ts";
import { type Caps, DEFAULT_CAPS, negotiate } from "./negotiate.ts";
import { decode, ERROR_CODE, encodeError, OPCODE, type Options } from "./packet.ts";
import { readRequest } from "./request.ts";
import { type Session, startSession } from "./session.ts";
import { bindUdp, closeSoon } from "./socket.ts";
import { DEFAULT_LIMITS, type Limits, type OpenTransfer, transferTable } from "./table.ts";
import { type AbortReason, DEFAULT_RULES, type TransferRules } from "./transfer.ts";

export interface TransferSummary {
  id: number;
  client: TftpClient;
  name: string;
  sizeBytes: number;
  blksize: number;
  windowsize: number;
}
interface TransferFigures {
  bytes: number;
  ms: number;
  retransmits: number;
}
export type TransferEvent =
  | ({ kind: "start" } & TransferSummary)
  | ({ kind: "done" } & TransferFigures & TransferSummary)
  /** `declined` is normal: the client wanted the size only, or will ask again with other options. */
  | ({ kind: "aborted"; why: AbortReason; detail: string } & TransferFigures & TransferSummary);

export interface TftpStats {
  active: number;
  started: number;
  done: number;
  aborted: number;
  notFound: number;
  /** Requests dropped because of a limit. */
  refused: number;
  malformed: number;
  bytesSent: number;
  sendErrors: number;
  cacheBytes: number;
}

export interface TftpOptions {
  /** Numeric. One server per interface address, so that answers come from the address that was asked. */
  address: string;
  /** 0 takes a free one. */
  port: number;
  files: TftpFiles;
  log: Log;
  caps?: Partial<Caps>;
  limits?: Partial<Limits>;
  rules?: Partial<TransferRules>;
  /** All transfers answer from `port`, told apart by the client's address and port. */
  singlePort?: boolean;
  onTransfer?: (event: TransferEvent) => void;
  /** Somebody asked for a name that is not served. */
  onUnknownName?: (name: string, address: string) => void;
  /** False: packets of this address are dropped before they are read. */
  admits?: (address: string) => boolean;
  /** Monotonic clock in milliseconds. */
  now?: () => number;
}

/** What a TFTP server is to the rest of the program. */
export interface TftpServer {
  readonly address: { address: string; port: number };
  readonly stats: TftpStats;
  close(): Promise<void>;
}

interface Entry extends OpenTransfer {
  readonly request: Buffer;
  /** Undefined while the file is opened and the port bound. */
  session: Session | undefined;
  socket: dgram.Socket | undefined;
}

const MAX_NAMES_LOGGED = 256;
const FILE_OPEN_TIMEOUT_MS = 5_000;

export async function tftpServer(options: TftpOptions): Promise<TftpServer> {
  const { address, port, files, log, singlePort = false, onTransfer, now = () => performance.now() } = options;
  const caps: Caps = { ...DEFAULT_CAPS, ...options.caps };
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const rules: TransferRules = { ...DEFAULT_RULES, ...options.rules };
  const frames = frameCache(limits.cacheBytes);
  const transfers = transferTable<Entry>(limits);
  const namesLogged = new Set<string>();
  const pending = new Set<Promise<void>>();
  const counts = {
    started: 0,
    done: 0,
    aborted: 0,
    notFound: 0,
    refused: 0,
    malformed: 0,
    bytesSent: 0,
    sendErrors: 0,
  };
  let nextId = 1;
  let closed = false;
  const main = await bindUdp(address, port, onSocketError);

  function onSocketError(error: Error): void {
    counts.sendErrors++;
    log.debug({ err: error }, "tftp socket error");
  }

  /** A packet that could not be sent is lost, as packets are: the transfer's timer sends it again. */
  function onSent(error: Error | null): void {
    if (error !== null) counts.sendErrors++;
  }

  function refuse(socket: dgram.Socket, to: TftpClient, code: number, message: string): void {
    socket.send(encodeError(code, message), to.port, to.address, onSent);
  }

  /** Remembered until it settles, so that close() leaves nothing behind. */
  function track(work: Promise<void>): void {
    const settled = work.finally(() => pending.delete(settled));
    pending.add(settled);
  }

  function onMainMessage(message: Buffer, from: dgram.RemoteInfo): void {
    if (from.port === 0 || closed || options.admits?.(from.address) === false) return;
    const entry = singlePort && message[1] !== OPCODE.rrq ? transfers.find(from) : undefined;
    if (entry !== undefined) {
      onTransferMessage(entry, message);
      return;
    }
    const asked = readRequest(message);
    if (asked.ask === "read") {
      onReadRequest(message, asked, { address: from.address, port: from.port });
      return;
    }
    if (asked.malformed) counts.malformed++;
    if (asked.ask === "refused") refuse(main, from, asked.code, asked.message);
    // Never an answer to an ERROR, or two servers could go on for ever.
    else if (!asked.malformed && message[1] !== OPCODE.error)
      refuse(main, from, ERROR_CODE.unknownTid, "no such transfer");
  }

  function onReadRequest(message: Buffer, asked: { name: string; options: Options }, client: TftpClient): void {
    const known = transfers.find(client);
    if (known?.request.equals(message) && !restarted(known)) {
      known.session?.repeat();
      return;
    }
    if (known !== undefined) finish(known, "superseded", "the client sent another request from the same port");
    const verdict = transfers.admit(client.address);
    if (verdict === "refuse") {
      // Dropped, not refused aloud: firmware asks again after silence, but gives up on an ERROR.
      counts.refused++;
      log.debug({ client: client.address, active: transfers.size }, "tftp request dropped at the transfer limit");
      return;
    }
    if (verdict !== "admit") finish(verdict.evict, "evicted", "gave way to a newer transfer");
    const entry = newEntry(client, Buffer.from(message), now());
    transfers.add(entry);
    track(open(entry, asked, client));
  }

  async function open(entry: Entry, asked: { name: string; options: Options }, client: TftpClient): Promise<void> {
    try {
      const name = normaliseName(asked.name);
      const opening = name === undefined ? undefined : files.open(name, client);
      const file = opening instanceof Promise ? await deadline(opening, FILE_OPEN_TIMEOUT_MS, `open ${name}`) : opening;
      if (file === undefined || name === undefined) {
        release(entry);
        onUnknownName(asked.name, client);
        return;
      }
      const socket = singlePort ? main : await bindUdp(address, 0, onSocketError);
      entry.socket = socket;
      // Superseded, evicted or closed while waiting.
      if (transfers.find(client) !== entry) closeOwn(socket);
      else start(entry, { name, file, options: asked.options }, client, socket);
    } catch (error) {
      release(entry);
      log.error(
        { err: error, client: client.address, name: asked.name.slice(0, 200) },
        "tftp transfer could not start",
      );
      if (!closed) refuse(main, client, ERROR_CODE.undefined, "server error");
    }
  }

  function start(
    entry: Entry,
    wanted: { name: string; file: TftpFile; options: Options },
    client: TftpClient,
    socket: dgram.Socket,
  ): void {
    const { name, file } = wanted;
    const { blksize, windowsize, timeoutMs, oack } = negotiate(wanted.options, file.sizeBytes, caps);
    const summary: TransferSummary = { id: nextId++, client, name, sizeBytes: file.sizeBytes, blksize, windowsize };
    if (socket !== main) socket.on("message", (message, from) => onOwnPortMessage(entry, socket, message, from));
    counts.started++;
    tell({ kind: "start", ...summary });
    entry.session = startSession({
      plan: { sizeBytes: file.sizeBytes, blksize, windowsize, timeoutMs, hasOack: oack.size > 0, rules },
      oack,
      file,
      frames,
      now,
      send(packet, offset, length) {
        counts.bytesSent += length;
        socket.send(packet, offset, length, client.port, client.address, onSent);
      },
      onEnd(end, { acked, startedAtMs, retransmits }) {
        release(entry);
        const bytes = Math.min(file.sizeBytes, Math.max(0, acked) * blksize);
        const figures = { bytes, ms: Math.round((now() - startedAtMs) * 10) / 10, retransmits };
        counts[end.ok ? "done" : "aborted"]++;
        if (end.ok) tell({ kind: "done", ...figures, ...summary });
        else tell({ kind: "aborted", why: end.why, detail: end.detail, ...figures, ...summary });
      },
    });
  }

  function onOwnPortMessage(entry: Entry, socket: dgram.Socket, message: Buffer, from: dgram.RemoteInfo): void {
    if (from.port === entry.port && from.address === entry.address) onTransferMessage(entry, message);
    // RFC 1350 section 4: a foreign TID gets ERROR 5, and the transfer goes on.
    else if (from.port !== 0 && message[1] !== OPCODE.error && transfers.find(entry) === entry) {
      refuse(socket, from, ERROR_CODE.unknownTid, "unknown transfer ID");
    }
  }

  function onTransferMessage(entry: Entry, message: Buffer): void {
    const packet = decode(message);
    if (packet === undefined) counts.malformed++;
    else entry.session?.packet(packet);
  }

  function onUnknownName(name: string, client: TftpClient): void {
    counts.notFound++;
    if (!closed) refuse(main, client, ERROR_CODE.notFound, "not found");
    options.onUnknownName?.(name, client.address);
    if (namesLogged.has(name) || namesLogged.size >= MAX_NAMES_LOGGED) return;
    namesLogged.add(name);
    log.info({ name: name.slice(0, 200), client: client.address }, "tftp name not served");
  }

  function finish(entry: Entry, why: AbortReason, detail: string): void {
    if (entry.session !== undefined) entry.session.abort(why, detail);
    else release(entry);
  }

  function release(entry: Entry): void {
    if (transfers.remove(entry) && entry.socket !== undefined) closeOwn(entry.socket);
  }

  function closeOwn(socket: dgram.Socket): void {
    if (socket !== main) track(closeSoon(socket));
  }

  function tell(event: TransferEvent): void {
    try {
      onTransfer?.(event);
    } catch (error) {
      log.error({ err: error, transfer: event.id }, "tftp event handler failed");
    }
  }

  main.on("message", onMainMessage);
  try {
    // A rack switched on at once; the kernel lowers both to its own limit.
    main.setRecvBufferSize(2 << 20);
    main.setSendBufferSize(1 << 20);
  } catch (error) {
    log.debug({ err: error }, "tftp socket buffers left at their default");
  }
  const bound = main.address();
  return {
    address: { address: bound.address, port: bound.port },
    get stats() {
      return { ...counts, active: transfers.size, cacheBytes: frames.bytes };
    },
    async close() {
      if (closed) return;
      closed = true;
      for (const entry of transfers.all()) finish(entry, "closed", "the server is stopping");
      while (pending.size > 0) await Promise.all(pending);
      await closeSoon(main);
    },
  };
}

function newEntry({ address, port }: TftpClient, request: Buffer, openedAtMs: number): Entry {
  return {
    address,
    port,
    request,
    session: undefined,
    socket: undefined,
    get proven() {
      return this.session?.transfer.proven ?? false;
    },
    get progressAtMs() {
      return this.session?.transfer.progressAtMs ?? openedAtMs;
    },
  };
}

/** The same request from a client that has gone silent mid-way: it was reset and starts again. */
function restarted({ session }: Entry): boolean {
  return session?.transfer.proven === true && session.transfer.sends > 1;
}
