// pino, one JSON line each: a constant lower-case message, the values as fields. Secrets are redacted by path.
import { type DestinationStream, type Logger, pino } from "pino";

export type Log = Logger;

const SECRET_PATHS = [
  "token",
  "*.token",
  "env",
  "*.env",
  "authorization",
  "*.authorization",
  "key",
  "*.key",
  "joinToken",
  "*.joinToken",
];

export function createLog(program: string, options: { level?: string; destination?: DestinationStream } = {}): Log {
  const { level = "info", destination = ownOutput() } = options;
  return pino(
    { name: program, level, redact: { paths: SECRET_PATHS, censor: "[secret]" }, base: { program } },
    destination,
  );
}

/** What waits to be written is no more. */
const WAITING_MOST_BYTES = 1 << 20;

/** stderr, which may be a file on a full disk: that ends no program. Lines wait for room, and are left out when too many do. */
function ownOutput(): DestinationStream {
  const output = pino.destination({ fd: 2, sync: true, maxLength: WAITING_MOST_BYTES });
  output.on("error", () => undefined); // there is nowhere else to say it
  return output;
}

/** A log that says nothing: for tests and for rules run outside a program. */
export function silentLog(): Log {
  return pino({ level: "silent" });
}
