// Syslog over one TCP or TLS connection, made anew when it breaks. TCP has no word of receipt: lines that the kernel has taken and
// the target never read are lost with the connection.
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { SEND_TIMEOUT_MS, SendError, type Sender, type SenderOptions } from "./sender.ts";
import { syslogFrame } from "./syslog.ts";
import type { LogDrainTarget } from "./target.ts";

export function syslogSender({ kind, host, port }: LogDrainTarget, options: SenderOptions): Sender {
  const { address, caPem, timeoutMs = SEND_TIMEOUT_MS } = options;
  let socket: Socket | undefined;
  let closed = false;

  const open = async (): Promise<Socket> => {
    const to = { host: await address(), port };
    const name = isIP(host) > 0 ? {} : { servername: host };
    const made =
      kind === "syslog"
        ? connect(to)
        : connectTls({ ...to, ...name, minVersion: "TLSv1.2", ...(caPem ? { ca: caPem } : {}) });
    made.setKeepAlive(true, 30_000);
    made.on("error", () => made.destroy());
    made.on("end", () => made.destroy()); // a target that has closed takes nothing more
    made.resume(); // whatever it says is nothing to us
    await settled(made, kind === "syslog" ? "connect" : "secureConnect", timeoutMs, `connect to ${host}:${port}`);
    return made;
  };

  return {
    async send(lines) {
      if (socket === undefined || socket.destroyed) socket = await open();
      if (closed) return socket.destroy() as never;
      const { resolve, reject, promise } = Promise.withResolvers<void>();
      const used = socket;
      const onClose = () => reject(new SendError(`${host}:${port} closed the connection`));
      const late = setTimeout(() => used.destroy(), timeoutMs);
      used.once("close", onClose);
      used.write(Buffer.concat(lines.map(syslogFrame)), (error) => (error ? onClose() : resolve()));
      await promise.finally(() => {
        clearTimeout(late);
        used.off("close", onClose);
      });
    },
    close() {
      closed = true;
      socket?.end();
      socket?.destroySoon();
    },
  };
}

function settled(socket: Socket, event: string, timeoutMs: number, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const fail = (cause?: unknown) => {
      clearTimeout(late);
      const why = cause instanceof Error ? `: ${cause.message}` : "";
      reject(new SendError(`${what}${why}`, { cause }));
    };
    socket.once("error", fail);
    socket.once("close", () => fail());
    socket.once(event, () => {
      clearTimeout(late);
      socket.off("error", fail);
      resolve();
    });
  });
}
