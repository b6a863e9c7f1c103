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
  const { level = "info", destination = pino.destination({ fd: 2, sync: true }) } = options;
  return pino(
    { name: program, level, redact: { paths: SECRET_PATHS, censor: "[secret]" }, base: { program } },
    destination,
  );
}

/** A log that says nothing: for tests and for rules run outside a program. */
export function silentLog(): Log {
  return pino({ level: "silent" });
}
