// What HAProxy says of itself, parsed: `show servers state`, `show map`, `show stat`, `show proc` (management.txt 9.3).
// A line that does not look as documented is an error: an unread reply must never count as agreement.
import type { Maps } from "./maps.ts";
import { atOnce } from "./slices.ts";

export interface RunningSlot {
  address: string;
  port: number;
  mode: "ready" | "drain" | "maint";
  weight: number;
  /** Passing its health checks. */
  isUp: boolean;
}
export interface Running {
  /** `be_0001/s1` -> slot */
  slots: Map<string, RunningSlot>;
  maps: Maps;
  /** File name, without its directory -> server names it is shown for, one space between. */
  certificates: Map<string, string>;
}

/** Lines between two looks at the clock. */
const STEP = 200;

/** srv_admin_state bits (management.txt): forced and inherited maintenance; forced drain. 0x04 is only "from the configuration". */
const MAINT = 0x01 | 0x02 | 0x20;
const DRAIN = 0x08 | 0x10;
const STATE_COLUMNS = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight";

export const parseServersState = (text: string): Map<string, RunningSlot> => atOnce(serversState(text));

/** A free slot as it should be: most are, and need no object of their own. */
const FREE: RunningSlot = Object.freeze({ address: "127.0.0.1", port: 1, mode: "maint", weight: 1, isUp: false });

export function* serversState(text: string): Generator<void, Map<string, RunningSlot>> {
  const lines = linesOf(text);
  const [version, columns] = [lines.next().value, lines.next().value];
  if (version !== "1" || !columns?.startsWith(STATE_COLUMNS)) throw new Error(`servers state: ${version}`);
  const portAt = columns.slice(2).split(" ").indexOf("srv_port");
  const slots = new Map<string, RunningSlot>();
  for (const line of lines) {
    if (slots.size % STEP === 0) yield;
    const fields = line.split(" ", portAt + 1);
    const admin = Number(fields[6]);
    const port = Number(fields[portAt]);
    if (!Number.isInteger(admin) || !Number.isInteger(port)) throw new Error(`servers state: ${line}`);
    const [, backend, , name, address = ""] = fields;
    const mode = admin & MAINT ? "maint" : admin & DRAIN ? "drain" : "ready";
    const weight = Number(fields[7]);
    const isUp = fields[5] === "2";
    const isFree = mode === "maint" && port === FREE.port && address === FREE.address && weight === 1 && !isUp;
    slots.set(`${backend}/${name}`, isFree ? FREE : { address, port, mode, weight, isUp });
  }
  return slots;
}

/** The lines with something on them. */
function* linesOf(text: string): Generator<string, undefined> {
  for (let from = 0; from < text.length; ) {
    const to = text.indexOf("\n", from);
    const end = to < 0 ? text.length : to;
    if (end > from) yield text.slice(from, end);
    from = end + 1;
  }
}

/** `show map <file>`: one `0xADDRESS key value` per line. A key that is there twice is given once, marked by `\0`. */
export const parseMap = (text: string): Map<string, string> => atOnce(mapEntries(text));

export function* mapEntries(text: string): Generator<void, Map<string, string>> {
  const entries = new Map<string, string>();
  for (const line of linesOf(text)) {
    if (entries.size % STEP === 0) yield;
    const match = /^0x[0-9a-f]+ (\S+) (.*)$/.exec(line);
    if (!match) throw new Error(`map: ${line}`);
    entries.set(match[1]!, entries.has(match[1]!) ? "\0twice" : match[2]!);
  }
  return entries;
}

/** `get map <file> <key>`: the value of just that key; undefined when it is not there, whatever else the key would match. */
export function parseLookup(reply: string, key: string): string | undefined {
  const [, found] = /^type=.*, found=(yes|no)\b/.exec(reply) ?? [];
  if (found === undefined) throw new Error(`get map: ${reply.slice(0, 100)}`);
  const match = /, key="(.*?)", value="(.*)", type="str"$/.exec(reply);
  if (found === "yes" && match === null) throw new Error(`get map: ${reply.slice(0, 100)}`);
  return match?.[1] === key ? match[2]! : undefined;
}

/** `show ssl crt-list <file>`: after a title one `file name...` per line. */
export function parseCertificateList(text: string): Map<string, string> {
  const [title, ...lines] = text.split("\n").filter((line) => line !== "");
  if (!title?.startsWith("# /")) throw new Error(`certificate list: ${title}`);
  return new Map(
    lines.map((line) => {
      const match = /^\/\S*\/([^/\s]+\.pem) (\S.*)$/.exec(line);
      if (!match) throw new Error(`certificate list: ${line}`);
      return [match[1]!, match[2]!];
    }),
  );
}

/** `show stat <backend> 4 -1`: open and waiting requests of each slot, by `be/slot`. */
export function parseSessions(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "");
  if (!lines[0]?.startsWith("# pxname,svname,qcur,qmax,scur,")) throw new Error(`stat: ${lines[0]}`);
  return new Map(
    lines.slice(1).map((line) => {
      const [backend, slot, queued, , current] = line.split(",");
      const sessions = Number(queued) + Number(current);
      if (!Number.isInteger(sessions)) throw new Error(`stat: ${line}`);
      return [`${backend}/${slot}`, sessions];
    }),
  );
}

export interface Processes {
  master: number;
  worker?: number;
  /** Workers of earlier configurations that still have requests, the newest first. */
  old: number[];
  /** Of the last of those: reloads it has seen, and how long ago it was replaced. */
  oldest?: { reloads: number; replacedMs: number };
}

export function parseProcesses(text: string): Processes {
  let master: number | undefined;
  const workers: Worker[] = [];
  const old: Worker[] = [];
  let isOld = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) isOld = line.startsWith("# old workers");
    const [, pid, kind, reloads] = /^(\d+)\s+(\w+)\s+(\d+)\s/.exec(line) ?? [];
    if (kind === "master") master = Number(pid);
    else if (kind === "worker") (isOld ? old : workers).push({ pid: Number(pid), reloads: Number(reloads), line });
  }
  if (master === undefined) throw new Error(`processes: ${text.slice(0, 100)}`);
  old.sort((a, b) => a.reloads - b.reloads);
  const found = { master, worker: workers[0]?.pid, old: old.map(({ pid }) => pid) };
  const [oldest, next = workers[0]] = [old.at(-1), old.at(-2)];
  if (oldest === undefined) return found;
  // It was replaced when the next one came.
  return { ...found, oldest: { reloads: oldest.reloads, replacedMs: next === undefined ? 0 : uptimeMs(next.line) } };
}

interface Worker {
  pid: number;
  reloads: number;
  line: string;
}

/** `0d00h01m22s`, of a worker whose start HAProxy knows. */
function uptimeMs(line: string): number {
  const [, days, hours, minutes, seconds] = /\s(\d+)d(\d+)h(\d+)m(\d+)s\s/.exec(line) ?? [];
  if (seconds === undefined) throw new Error(`processes: ${line}`);
  return (((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000;
}

/** The replies to `count` commands sent on one line: each ends with an empty line. */
export function splitReplies(text: string, count: number): string[] {
  const replies: string[] = [];
  let reply = "";
  for (const line of text.split("\n").slice(0, -1)) {
    if (line !== "") reply += `${line}\n`;
    else {
      replies.push(reply.trimEnd());
      reply = "";
    }
  }
  if (replies.length !== count || reply !== "" || !text.endsWith("\n"))
    throw new Error(`${count} commands got ${replies.length} replies: ${text.slice(0, 200)}`);
  return replies;
}

/** Whether a reply says that the command did what it should: silence, or for an address what changed. */
export function isDone(command: string, reply: string): boolean {
  if (/ addr /.test(command))
    return /^(no need to change|nothing changed|IP changed from|port changed from)/.test(reply);
  return reply === "";
}
