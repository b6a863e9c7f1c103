// A log line as a syslog message (RFC 5424, 6) in an octet-counted frame (RFC 6587, 3.4.1). Pure. HOSTNAME is the app, APP-NAME the
// line's source, PROCID process and job, MSGID `part` where
// the next message of the job goes on with the same line.
import type { LogLine } from "#api/logs.ts";

const USER = 1;
const ERROR = 3;
const INFORMATIONAL = 6;

export function syslogMessage({ at, app, source, process, jobId, stream, line, partial }: LogLine): string {
  const priority = USER * 8 + (stream === "stderr" ? ERROR : INFORMATIONAL);
  const procId = process === undefined || jobId === undefined ? "-" : field(`${process}.${jobId}`, 128);
  // Any length of text is framed, but a line is one line: control characters are left to nobody's parser.
  const text = line.replace(/[\u0000-\u0008\u000a-\u001a\u001c-\u001f\u007f]/g, " ").toWellFormed();
  return `<${priority}>1 ${at} ${field(app, 255)} ${field(source, 48)} ${procId} ${partial ? "part" : "-"} - ${text}`;
}

export function syslogFrame(line: LogLine): Buffer {
  const message = Buffer.from(syslogMessage(line));
  return Buffer.concat([Buffer.from(`${message.length} `), message]);
}

/** PRINTUSASCII without spaces, never empty. */
const field = (text: string, most: number): string => text.replace(/[^\x21-\x7e]/g, "_").slice(0, most) || "-";
