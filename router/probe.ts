// Does something accept connections at an address now? Asked once before a slot is opened, so that a job that listens
// gets traffic at once and a closed port never does; from then on HAProxy's own checks decide.
import { connect } from "node:net";

const AT_ONCE = 128;

/** `address:port` of each that accepted a connection within `timeoutMs`. */
export async function probe(
  addresses: readonly { address: string; port: number }[],
  timeoutMs = 150,
): Promise<Set<string>> {
  const open = new Set<string>();
  for (let n = 0; n < addresses.length; n += AT_ONCE) {
    const some = addresses.slice(n, n + AT_ONCE);
    await Promise.all(
      some.map(async ({ address, port }) => {
        if (await accepts(address, port, timeoutMs)) open.add(`${address}:${port}`);
      }),
    );
  }
  return open;
}

function accepts(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (isOpen: boolean) => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once("connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
