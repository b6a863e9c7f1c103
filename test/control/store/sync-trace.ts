// From a trace of system calls to what a power cut would lose: whatever somebody was told of (`ack`) must be on disk by then. A file's bytes
// are once it was synced, or was opened to write through; its name is once its directory was synced; a rename moves a name only after the
// bytes under it are there. Pure.

/** What counts for nothing after a power cut, or is LevelDB's own order: its files' names follow its manifest, which it syncs with them. */
const UNWATCHED = /\/owner\.json|\.tmp$|\/LOG(\.old)?$|\/LOCK$|\.dbtmp$|\/CURRENT$|\.ldb$/;
const OF_LEVEL = /\/level(\.new|\.damaged)?\//;

interface Call {
  name: string;
  args: string;
  result: string;
  /** Line at which it began, and ended. */
  from: number;
  to: number;
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/")) || "/";

/** Each call once, in the order of their ends. */
function callsOf(trace: string): Call[] {
  const begun = new Map<string, { name: string; args: string; from: number }>();
  const calls: Call[] = [];
  for (const [at, line] of trace.split("\n").entries()) {
    const match = /^(\d+)\s+(.*)$/.exec(line);
    if (match === null) continue;
    const [, pid, text] = match as unknown as [string, string, string];
    const resumed = /^<\.\.\. (\w+) resumed>(.*?)\)?\s+= (.+)$/.exec(text);
    const unfinished = /^(\w+)\((.*?)\s*<unfinished \.\.\.>$/.exec(text);
    const whole = /^(\w+)\((.*)\)\s+= (.+)$/.exec(text);
    if (resumed !== null) {
      const start = begun.get(`${pid} ${resumed[1]}`);
      if (start) calls.push({ ...start, args: start.args + resumed[2], result: resumed[3]!, to: at });
    } else if (unfinished !== null)
      begun.set(`${pid} ${unfinished[1]}`, { name: unfinished[1]!, args: unfinished[2]!, from: at });
    else if (whole !== null) calls.push({ name: whole[1]!, args: whole[2]!, result: whole[3]!, from: at, to: at });
  }
  return calls;
}

/** What would be lost, or found half, if the power went at some moment of the trace; empty when nothing would. */
export function lossesIn(trace: string, root: string): string[] {
  const losses = new Set<string>();
  /** Files whose bytes are not synced, with the line of their last write. */
  const dirty = new Map<string, number>();
  /** Names that are not synced, with the line they came at. */
  const names = new Map<string, number>();
  const through = new Map<string, boolean>();
  const known = new Set<string>([root]);
  const journaled = new Set<string>();
  const watched = (path: string | undefined): path is string =>
    path?.startsWith(root) === true && !UNWATCHED.test(path);
  const forget = (path: string) => {
    for (const each of [dirty, names])
      for (const key of each.keys()) if (key === path || key.startsWith(`${path}/`)) each.delete(key);
    for (const key of [...known]) if (key === path || key.startsWith(`${path}/`)) known.delete(key);
  };
  const appears = (path: string, at: number) => {
    if (watched(path) && !OF_LEVEL.test(path) && !known.has(path)) names.set(path, at);
    known.add(path);
  };
  for (const { name, args, result, from, to } of callsOf(trace)) {
    const failed = result.startsWith("-1");
    const ack = name === "write" && /^1<[^>]*>, "ack (.*?)\\n"/.exec(args);
    if (ack) {
      const record = /^record (\d+)$/.exec(ack[1]!)?.[1];
      if (record !== undefined && !journaled.has(record)) losses.add(`${ack[1]}: it is not in the journal`);
      for (const path of [...dirty.keys()].filter(watched)) losses.add(`${ack[1]}: bytes of ${path} are not synced`);
      for (const path of names.keys()) losses.add(`${ack[1]}: the name ${path} is not synced`);
      continue;
    }
    if (failed) continue;
    const onFile = /^\d+<([^>]+)>/.exec(args)?.[1];
    if (name === "openat") {
      const path = /<([^>]+)>$/.exec(result)?.[1];
      if (path === undefined || !path.startsWith(root)) continue;
      if (/O_WRONLY|O_RDWR/.test(args)) through.set(path, /O_D?SYNC/.test(args));
      if (args.includes("O_CREAT")) appears(path, to);
      if (args.includes("O_TRUNC") && !through.get(path)) dirty.set(path, to);
    } else if (/^p?write(64|v)?2?$/.test(name) || name === "ftruncate") {
      const isOurs = onFile?.startsWith(root) === true;
      const frame = /\/journal-\d+\.log$/.test(onFile ?? "") && /"#(\d+) /.exec(args)?.[1];
      if (frame) journaled.add(frame);
      if (isOurs && (name === "ftruncate" || !through.get(onFile))) dirty.set(onFile, to);
    } else if (name === "fsync" || name === "fdatasync") {
      if (onFile === undefined) continue;
      if ((dirty.get(onFile) ?? Number.POSITIVE_INFINITY) < from) dirty.delete(onFile);
      for (const [path, at] of names) if (parentOf(path) === onFile && at < from) names.delete(path);
    } else if (name === "mkdir") {
      const path = /^"([^"]+)"/.exec(args)?.[1];
      if (path) appears(path, to);
    } else if (/^(rename|link)/.test(name)) {
      const [source, target] = [...args.matchAll(/"([^"]+)"/g)].map((match) => match[1]!);
      if (source === undefined || target === undefined || !target.startsWith(root)) continue;
      const isUnder = (path: string) => path === source || path.startsWith(`${source}/`);
      const counts = !/\/CURRENT$|owner\.json|\/LOG\.old$/.test(target);
      for (const path of [...dirty.keys()].filter(isUnder))
        if (counts && (path === source || watched(path)))
          losses.add(`${target} may be found with half of ${path}: it was renamed before it was synced`);
      const moved = [...names].filter(([path]) => path !== source && isUnder(path));
      forget(source);
      forget(target);
      for (const [path, at] of moved) names.set(target + path.slice(source.length), at);
      appears(target, to);
    } else if (/^(unlink|rmdir)/.test(name)) {
      const path = [...args.matchAll(/"([^"]+)"/g)].at(-1)?.[1];
      if (path) forget(path);
    }
  }
  return [...losses];
}
