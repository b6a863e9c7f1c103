// What HAProxy says of itself, parsed: `show servers state`, `show map`, `show stat`, `show proc` (management.txt 9.3).
// A line that does not look as documented is an error: an unread reply must never count as agreement.
import type { Maps } from "./maps.ts";

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

/** srv_admin_state bits (management.txt): forced and inherited maintenance; forced drain. 0x04 is only "from the configuration". */
const MAINT = 0x01 | 0x02 | 0x20;
const DRAIN = 0x08 | 0x10;
const STATE_COLUMNS = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight";

export function parseServersState(text: string): Map<string, RunningSlot> {
  const lines = text.split("\n").filter((line) => line !== "");
  if (lines[0] !== "1" || !lines[1]?.startsWith(STATE_COLUMNS)) throw new Error(`servers state: ${lines[0]}`);
  const portAt = lines[1].slice(2).split(" ").indexOf("srv_port");
  const slots = new Map<string, RunningSlot>();
  for (const line of lines.slice(2)) {
    const fields = line.split(" ");
    const admin = Number(fields[6]);
    const port = Number(fields[portAt]);
    if (!Number.isInteger(admin) || !Number.isInteger(port)) throw new Error(`servers state: ${line}`);
    slots.set(`${fields[1]}/${fields[3]}`, {
      address: fields[4]!,
      port,
      mode: admin & MAINT ? "maint" : admin & DRAIN ? "drain" : "ready",
      weight: Number(fields[7]),
      isUp: fields[5] === "2",
    });
  }
  return slots;
}

/** `show map <file>`: one `0xADDRESS key value` per line. A key that is there twice is given once, marked by `\0`. */
export function parseMap(text: string): Map<string, string> {
  const entries = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const match = /^0x[0-9a-f]+ (\S+) (.*)$/.exec(line);
    if (!match) throw new Error(`map: ${line}`);
    entries.set(match[1]!, entries.has(match[1]!) ? "\0twice" : match[2]!);
  }
  return entries;
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
  /** Workers of earlier configurations that still have requests. */
  old: number[];
}

export function parseProcesses(text: string): Processes {
  const found: { master?: number; workers: number[]; old: number[] } = { workers: [], old: [] };
  let isOld = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) isOld = line.startsWith("# old workers");
    const [, pid, kind] = /^(\d+)\s+(\w+)\s/.exec(line) ?? [];
    if (kind === "master") found.master = Number(pid);
    else if (kind === "worker") (isOld ? found.old : found.workers).push(Number(pid));
  }
  if (found.master === undefined) throw new Error(`processes: ${text.slice(0, 100)}`);
  return { master: found.master, worker: found.workers[0], old: found.old };
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
