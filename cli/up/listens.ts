// Whether something takes connections on a TCP port by now.
import { once } from "node:events";
import { connect } from "node:net";
import { until } from "#lib/time.ts";

const CONNECT_MS = 2_000;

/** Resolves once `port` of `address` takes a connection; a Fault when it did not in time. */
export async function listens(options: {
  address: string;
  port: number;
  what: string;
  timeoutMs: number;
  signal: AbortSignal;
}): Promise<void> {
  const { address, port, what, timeoutMs, signal } = options;
  await until(
    async () => {
      const socket = connect({ host: address, port, timeout: CONNECT_MS });
      socket.on("timeout", () => socket.destroy(new Error("no answer")));
      try {
        await once(socket, "connect", { signal });
        return true;
      } finally {
        socket.destroy();
      }
    },
    { what, timeoutMs, signal },
  );
}
