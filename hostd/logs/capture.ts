// Follows the log of every container into the store, and says when one has been kept to its end. A reader that breaks goes on
// where the store's cursor stands: the engine repeats that instant, and as many lines as are kept of it are stepped over.
import { isFault } from "#api/fault.ts";
import { backoffMs } from "#lib/retry.ts";
import { deadline, joined, microsecondsNow } from "#lib/time.ts";
import { createWake, type Wake } from "#lib/wake.ts";
import { type Container, type Engine, type EngineLogLine, LABELS } from "../engine/engine.ts";
import { incompleteBytes } from "../engine/log-frames.ts";
import { droppedLine, JOB_RATE, type RateGate, type RateLimits, rateGate } from "./rate.ts";
import { type AppLog, type LogStore, logName } from "./store.ts";

export interface LogCapture {
  /** Reads exactly these containers' logs. */
  sync(containers: readonly Container[]): void;
  captured: ReadonlySet<string>;
  lastLine(containerId: string): string | undefined;
}

export interface CaptureOptions {
  /** What one job may write. */
  rate?: RateLimits;
  engine: Pick<Engine, "log">;
  store: LogStore;
  /** A container's log has been kept to its end. */
  onEnd: () => void;
  onError: (error: unknown, containerId: string) => void;
  signal: AbortSignal;
  /** How long a reader rests whose log ended so often though its container runs; its end is not waited out. */
  restMs?: (times: number) => number;
}

interface Reader {
  controller: AbortController;
  /** The container had ended before the reading that is now under way began. */
  ended: boolean;
  /** Name of the log it goes to. */
  logName: string;
  gate: RateGate;
  /** Rung when the container is seen to have ended. */
  wake: Wake;
}

/** Docker cuts an entry at 16 KiB; what is so long is a piece of a line, unless it ends one. */
const MAX_LINE_BYTES = 16 << 10;
const TELL_DROPPED_MS = 1_000;
/** Of a flood's end, kept whatever was dropped before: why a program ended is in its last words. */
const LAST_LINES = 50;
const LAST_BYTES = 64 << 10;
/** How often, and how long, a reader waits for the disk: the engine holds more than a job may write meanwhile. */
const PAUSE_EVERY_CHARS = 256 << 10;
const PAUSE_MS = 1_000;

export function captureLogs(options: CaptureOptions): LogCapture {
  const { engine, store, onEnd, onError, signal, rate = JOB_RATE } = options;
  const { restMs = (times) => backoffMs(times, 200, 1_000) } = options;
  const readers = new Map<string, Reader>();
  const captured = new Set<string>();
  const lastLines = new Map<string, string>();

  /** One reading, to its end. */
  const read = async (container: Container, reader: Reader, log: AppLog, ended: AbortSignal): Promise<void> => {
    const { id, labels } = container;
    const about = { ...appOf(container), process: labels[LABELS.process] ?? "", jobId: labels[LABELS.job]! };
    const cursor = log.cursor(id);
    let skip = cursor?.count ?? 0;
    const { gate } = reader;
    let newest = cursor?.at ?? "";
    let toldMs = performance.now();
    let unpaused = 0;
    /** When the entry before was read, and the time of the last one beyond the rate. */
    let [readAt, refusedAt] = ["", ""];
    const say = (line: string, at = newest) =>
      log.append([{ at, ...about, stream: "stderr", source: "system", line, container: id }]);
    const last = lastWords();
    const tellDropped = () => {
      gate.takeDropped();
      const { count, at } = last.takeLost();
      toldMs = performance.now();
      // At the time of the last of them: those that wait come after it, and a reader sees where lines are missing.
      if (count > 0) say(droppedLine(count, rate), at);
    };
    /** A line is kept: what waited to be the last words is dropped after all. */
    const passOver = () => {
      if (gate.dropped === 0 && last.isEmpty) return;
      last.drop();
      tellDropped();
    };
    const keep = ({ at, stream, line, partial }: EngineLogLine) => {
      const rest = { ...(partial ? { partial } : {}), container: id };
      log.append([{ at, ...about, stream, source: "app", line: cutTo(line, MAX_LINE_BYTES), ...rest }]);
    };
    // A flood that ends in silence is told too; its newest lines wait on, for they may be the last.
    const teller = setInterval(() => performance.now() - toldMs >= TELL_DROPPED_MS && tellDropped(), TELL_DROPPED_MS);
    try {
      for await (const entry of engine.log(container.name, { since: cursor?.at, signal: ended })) {
        const { at, line } = entry;
        if (cursor && (at < cursor.at || (at === cursor.at && skip-- > 0))) continue;
        // The engine gives the line it was asked from, if it still has it.
        if (cursor && newest === cursor.at && at > cursor.at && skip === cursor.count)
          say("... lines dropped: more was written than the engine keeps while nobody read it");
        if (tells(line)) lastLines.set(id, line);
        if (mayBeSkipped({ before: newest, at, readAt, refusedAt })) {
          passOver();
          say(SKIPPED);
        }
        newest = at;
        readAt = microsecondsNow();
        // The disk is waited for only so long: what the engine cannot hand on it gives up in silence.
        if (!gate.admit(Buffer.byteLength(line), performance.now(), log.isBehind())) {
          last.push(entry);
          refusedAt = at;
          if (performance.now() - toldMs >= TELL_DROPPED_MS) tellDropped();
          continue;
        }
        passOver();
        keep(entry);
        unpaused += line.length;
        if (unpaused < PAUSE_EVERY_CHARS) continue;
        unpaused = 0;
        await deadline(log.ready(), PAUSE_MS, "keeping log lines").catch(() => undefined);
      }
    } finally {
      clearInterval(teller);
      if (ended.aborted) last.drop();
      tellDropped();
      for (const entry of last.take()) keep(entry);
    }
  };

  const follow = async (container: Container, reader: Reader, ended: AbortSignal): Promise<void> => {
    for (let failures = 0; !ended.aborted; ) {
      const wasEnded = reader.ended;
      try {
        const log = await store.open(reader.logName);
        await read(container, reader, log, ended);
        // Reading a container that had ended before is final; one that ended during it is read once more.
        if (wasEnded && !ended.aborted) {
          // From here on the container may be removed, and its lines are read from nowhere again.
          await deadline(log.flush(), PAUSE_MS, "keeping last log lines").catch(() => undefined);
          captured.add(container.id);
          return onEnd();
        }
        if (reader.ended) continue;
        failures++;
      } catch (error) {
        if (ended.aborted) return;
        if (isFault(error, "not-found")) return;
        failures++;
        onError(error, container.id);
      }
      await reader.wake.wait(restMs(Math.max(1, failures)), ended);
    }
  };

  return {
    captured,
    lastLine: (containerId) => lastLines.get(containerId),
    sync(containers) {
      const ids = new Set(containers.map(({ id }) => id));
      for (const id of captured) if (!ids.has(id)) captured.delete(id);
      for (const [id, reader] of readers) {
        if (ids.has(id)) continue;
        reader.controller.abort();
        readers.delete(id);
        captured.delete(id);
        lastLines.delete(id);
        void store.open(reader.logName).then(
          (log) => log.forget(id),
          () => undefined,
        );
      }
      for (const container of containers) {
        const { id, labels, status } = container;
        const ended = status === "exited" || status === "dead";
        // What a client and its job say to one another is theirs: there is no log, so it is kept to its end.
        if (labels[LABELS.attach] === "1") {
          if (ended) captured.add(id);
          continue;
        }
        const existing = readers.get(id);
        if (existing) {
          if (ended && !existing.ended) existing.wake.ring();
          existing.ended = ended;
          continue;
        }
        if (status !== "running" && !ended) continue;
        const beside = { controller: new AbortController(), gate: rateGate(rate), wake: createWake() };
        const reader: Reader = { ended, logName: logName(appOf(container)), ...beside };
        readers.set(id, reader);
        const until = joined(signal, reader.controller.signal);
        void follow(container, reader, until.signal).finally(until.release);
      }
    },
  };
}

const SKIPPED = "... lines may be missing here: more was written than the engine hands on while it is read";
const SKIP_LEAST_MS = 250;

/**
 * Docker passes over whole files in silence when it is read slower than it is written to. That shows as a leap in the times of a flood
 * behind a line that was read late: a reader that keeps up sees no such leap but a pause.
 */
export function mayBeSkipped(times: { before: string; at: string; readAt: string; refusedAt: string }): boolean {
  if (times.refusedAt === "" || times.at <= times.before) return false;
  const { before, at, readAt, refusedAt } = times;
  const beganMs = Date.parse(before);
  const isLate = Date.parse(readAt) - beganMs >= SKIP_LEAST_MS;
  return isLate && Date.parse(at) - beganMs >= SKIP_LEAST_MS && beganMs - Date.parse(refusedAt) < 1_000;
}

function appOf({ labels }: Container): { app: string; appId?: string } {
  const appId = labels[LABELS.appId];
  return { app: labels[LABELS.app] ?? "", ...(appId ? { appId } : {}) };
}

/** The newest lines that were refused, until one is kept; older ones are lost, and counted. */
function lastWords() {
  let held: EngineLogLine[] = [];
  let bytes = 0;
  let lost = 0;
  let lostAt: string | undefined;
  const take = () => {
    const taken = held;
    held = [];
    bytes = 0;
    return taken;
  };
  return {
    get isEmpty() {
      return held.length === 0;
    },
    push(entry: EngineLogLine) {
      held.push(entry);
      bytes += entry.line.length;
      while (held.length > LAST_LINES || (bytes > LAST_BYTES && held.length > 1)) {
        const { line, at } = held.shift()!;
        bytes -= line.length;
        lost++;
        lostAt = at;
      }
    },
    drop() {
      lostAt = held.at(-1)?.at ?? lostAt;
      lost += take().length;
    },
    take,
    /** Lines lost since this was last asked, and when the last of them was written. */
    takeLost() {
      const found = { count: lost, at: lostAt };
      lost = 0;
      lostAt = undefined;
      return found;
    },
  };
}

/** Cut between characters. */
function cutTo(line: string, mostBytes: number): string {
  if (line.length <= mostBytes / 3 || Buffer.byteLength(line) <= mostBytes) return line;
  const bytes = Buffer.from(line).subarray(0, mostBytes);
  return bytes.toString("utf8", 0, bytes.length - incompleteBytes(bytes));
}

/** Whether a line may say why a program ended: not what Node.js and Java print below an error (its stack, a brace, a version). */
export function tells(line: string): boolean {
  const text = line.trim(); // nothing here may look at a part of the line twice: whoever wrote it may wish us ill
  return !text.startsWith("at ") && !/^Node\.js v\d\S*$/.test(text) && !/^[\](){}^]*$/.test(text);
}
