// A TFTP client for tests and the bench: reads one file, re-sends its last packet after silence (as firmware does), and
// checks order by block number. RFC 7440: a gap in a window is answered by the last block in order, once.
import dgram from "node:dgram";
import { decode, encodeAck, encodeError, encodeRequest } from "../../../bootstrap/tftp/packet.ts";

export interface DownloadOptions {
  address: string;
  port: number;
  name: string;
  blksize?: number;
  windowsize?: number;
  timeoutMs?: number;
  /** Silence after which the last packet is sent again. */
  resendMs?: number;
  /** Each block's bytes in order; only counted when absent. */
  onBlock?: (payload: Buffer) => void;
  /** Ends the download early, as a success, with what has come so far. */
  stop?: AbortSignal;
}

export function download(options: DownloadOptions): Promise<{ bytes: number; ms: number }> {
  const {
    address,
    port,
    name,
    blksize = 512,
    windowsize = 1,
    timeoutMs = 20_000,
    resendMs = 500,
    onBlock,
    stop,
  } = options;
  const asked = new Map<string, string>();
  if (blksize !== 512) asked.set("blksize", String(blksize));
  if (windowsize !== 1) asked.set("windowsize", String(windowsize));
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket({ type: "udp4", lookup: (host, _options, done) => done(null, host, 4) });
    const startedAt = performance.now();
    let serverPort = port;
    let known = false;
    let size = 512;
    let window = 1;
    let inOrder = 0; // last block received in order
    let ackedInOrder = 0;
    let gapAnswered = false;
    let bytes = 0;
    let last = encodeRequest({ op: "rrq", name, mode: "octet", options: asked });
    let heardAt = startedAt;
    const timer = setInterval(
      () => {
        const at = performance.now();
        if (at - startedAt > timeoutMs) end(new Error(`${name}: ${bytes} bytes after ${timeoutMs} ms`));
        else if (at - heardAt >= resendMs) {
          heardAt = at;
          socket.send(last, serverPort, address);
        }
      },
      Math.min(100, resendMs),
    );
    const onStop = () => {
      socket.send(encodeError(0, "stop"), serverPort, address);
      end();
    };
    stop?.addEventListener("abort", onStop, { once: true });
    function end(error?: Error): void {
      clearInterval(timer);
      stop?.removeEventListener("abort", onStop);
      socket.removeAllListeners("message");
      setImmediate(() => socket.close());
      if (error) reject(error);
      else resolve({ bytes, ms: performance.now() - startedAt });
    }
    function ack(): void {
      last = encodeAck(inOrder);
      ackedInOrder = inOrder;
      socket.send(last, serverPort, address);
    }
    function onData(message: Buffer): void {
      heardAt = performance.now();
      const ahead = (message.readUInt16BE(2) - inOrder) & 0xffff;
      if (ahead !== 1) {
        // A repeat or a gap: say where we are, once until something new comes in a window; always in lock step.
        if (window === 1 || !gapAnswered) ack();
        gapAnswered = true;
        return;
      }
      gapAnswered = false;
      inOrder++;
      bytes += message.length - 4;
      onBlock?.(message.subarray(4));
      const isLast = message.length - 4 < size;
      if (isLast || inOrder - ackedInOrder >= window) ack();
      if (isLast) end();
    }
    socket.on("message", (message, from) => {
      if (known && from.port !== serverPort) return;
      known = true;
      serverPort = from.port;
      if (message[1] === 3) return onData(message);
      const packet = decode(message);
      if (packet?.op === "error") end(new Error(`error ${packet.code} ${packet.message}`));
      else if (packet?.op === "oack" && inOrder === 0) {
        size = Number(packet.options.get("blksize") ?? 512);
        window = Number(packet.options.get("windowsize") ?? 1);
        heardAt = performance.now();
        ack();
      }
    });
    socket.on("error", end);
    socket.send(last, port, address);
  });
}
