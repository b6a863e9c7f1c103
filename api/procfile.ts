// A Procfile's process types: Heroku's line (`web: npm start`), read strictly, by control and inside the build alike. What an
// editor on Windows adds is passed over with a warning; what would silently run something else than was meant is refused,
// with the number of the line.
import { Fault } from "./fault.ts";
import { isProcessName } from "./schema.ts";

export interface Procfile {
  /** Process type to command line, in the order of the file. `release` is the release phase, never scaled. */
  types: Record<string, string>;
  warnings: string[];
}

const TYPES_MOST = 50;
const COMMAND_MOST = 4096;
const FILE_MOST_BYTES = 64 * 1024;
const LINE = /^[^\S\n]*([A-Za-z0-9_-]+):[^\S\n]*(.*)$/;

export function parseProcfile(text: string): Procfile {
  if (Buffer.byteLength(text) > FILE_MOST_BYTES) throw new Fault("invalid", "the Procfile is larger than 64 KiB");
  const warnings: string[] = [];
  let body = text;
  if (body.startsWith("\ufeff")) {
    body = body.slice(1);
    warnings.push("the Procfile begins with a byte order mark; it is passed over");
  }
  if (body.includes("\r")) warnings.push("the Procfile has Windows line ends; they are read as plain ones");
  const types = new Map<string, { command: string; line: number }>();
  for (const [at, raw] of body.split(/\r\n|\n|\r/).entries()) {
    const line = at + 1;
    if (/^\s*(#|$)/.test(raw)) continue;
    const { name: written, command } = readLine(raw, line);
    const name = written.toLowerCase();
    if (!isProcessName(name)) throw wrong(line, unfit(written));
    if (name !== written) warnings.push(`line ${line}: process type ${written} is run as ${name}`);
    const earlier = types.get(name);
    if (earlier !== undefined)
      throw wrong(line, `process type ${name} is there twice (lines ${earlier.line} and ${line})`);
    if (types.size === TYPES_MOST) throw wrong(line, `there are more than ${TYPES_MOST} process types`);
    types.set(name, { command, line });
  }
  if (types.size === 0) warnings.push("the Procfile names no process type");
  return { types: Object.fromEntries([...types].map(([name, { command }]) => [name, command])), warnings };
}

function readLine(raw: string, line: number): { name: string; command: string } {
  const [, name, rest] = LINE.exec(raw) ?? [];
  if (name === undefined || rest === undefined)
    throw wrong(line, `${quoted(raw)} is no process type; write it as \`web: command\``);
  const command = rest.trim();
  if (command === "") throw wrong(line, `process type ${short(name)} has no command`);
  if (/[\u0000-\u0008\u000b-\u001f\u007f\u2028\u2029]/.test(command))
    throw wrong(line, `the command of ${short(name)} holds a control character`);
  if (command.length > COMMAND_MOST)
    throw wrong(line, `the command of ${short(name)} is longer than ${COMMAND_MOST} characters`);
  return { name, command };
}

function unfit(name: string): string {
  const why =
    name.length > 30
      ? "it is longer than 30 characters"
      : /^[A-Za-z]/.test(name)
        ? "that word is taken"
        : "it must begin with a letter";
  return `${short(name)} cannot be the name of a process type: ${why}`;
}

const short = (text: string): string => (text.length > 40 ? `${text.slice(0, 40)}...` : text);
const quoted = (text: string): string => `"${short(text.trim()).replace(/[^\x20-\x7e]/g, "?")}"`;

const wrong = (line: number, words: string): Fault =>
  new Fault("invalid", `Procfile, line ${line}: ${words}`, { details: { line } });
