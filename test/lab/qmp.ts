// QEMU's control socket (QMP), and what its machines write to their serial consoles.
import { createConnection } from "node:net";
import { deadline } from "#lib/time.ts";

/** Console text as a person would read it: no escape sequences, no carriage returns, no control characters. */
export function plainText(raw: string): string {
  return raw
    .replace(/\x1b\][^\x07]*\x07|\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[ -~]/g, "")
    .replace(/[\x00-\x09\x0b-\x1f\x7f]/g, "");
}

/** One command on a connection of its own; QEMU serves one client at a time. */
export function qmp(socketPath: string, command: string): Promise<void> {
  const socket = createConnection(socketPath);
  const work = new Promise<void>((resolve, reject) => {
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk.toString("utf8");
      for (let end = received.indexOf("\n"); end >= 0; end = received.indexOf("\n")) {
        const message = JSON.parse(received.slice(0, end)) as {
          QMP?: unknown;
          return?: unknown;
          error?: { desc: string };
          id?: string;
        };
        received = received.slice(end + 1);
        if (message.QMP !== undefined) socket.write(`{"execute":"qmp_capabilities","id":"hello"}\n`);
        else if (message.id === "hello") socket.write(`${JSON.stringify({ execute: command, id: "command" })}\n`);
        else if (message.id === "command")
          message.error ? reject(new Error(`${command}: ${message.error.desc}`)) : resolve();
      }
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("QEMU closed its control socket")));
  });
  return deadline(work, 5_000, `QEMU's ${command}`).finally(() => socket.destroy());
}
