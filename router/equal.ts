// Makes what HAProxy runs equal to what is wanted, by commands, and proves it by reading back. What was proven is remembered, so that a
// change is compared, commanded and read back by itself; what is not known is looked at wholly.
import type { Log } from "#lib/log.ts";
import { type Assignment, isTcp } from "./assignment.ts";
import { type CertificateFile, type CertificateFiles, certificateChanges } from "./certificates.ts";
import { differences, fitTo, newAddresses } from "./diff.ts";
import type { Haproxy } from "./haproxy.ts";
import type { Maps } from "./maps.ts";
import { probe } from "./probe.ts";
import type { ReloadReason } from "./reload.ts";
import { isLarge, isNothing, type Scope, scopeBetween, touchedBy, withBackendsOfRoutes } from "./scope.ts";
import { inSlices } from "./slices.ts";
import type { Running } from "./verify.ts";

interface Wanted {
  assignment: Assignment;
  maps: Maps;
  certificates: CertificateFiles;
}

/** What is known of the running HAProxy. */
type View =
  | { kind: "unknown" }
  /** It was given commands; what they touched is to be read again, or all of it where they are many. */
  | { kind: "commanded"; before: Running; touched: Scope | undefined }
  | { kind: "proven"; running: Running; wanted: Wanted };

/** With more commands at once, all is read again. */
const COMMANDS_MOST = 1_000;
const UNKNOWN: View = { kind: "unknown" };

export interface Equaliser<W extends Wanted> {
  /** Runs what is different now. Answers what is wanted without the certificates that HAProxy did not take, and what only a reload brings. */
  equalise(wanted: W, isExpected: boolean): Promise<{ wanted: W; reload: ReloadReason | undefined }>;
  /** Throws when what runs is not what is wanted but for what a reload is waited for. */
  verify(wanted: W, waitedFor: ReloadReason | undefined): Promise<void>;
  /** What runs is what is wanted, as far as was looked. */
  isProven(): boolean;
  /** What runs must be looked at wholly. */
  forget(): void;
  /** When all of it was looked at last, and how long that took, in milliseconds. */
  lookedAtMs(): number;
  lookTookMs(): number;
  /** TCP ports it was last seen to have. */
  listening(): ReadonlySet<number>;
  /** Backends compared and commands run so far. */
  work(): { backends: number; commands: number };
}

export interface EqualiserOptions<W extends Wanted> {
  haproxy: Haproxy;
  directory: string;
  log: Log;
  /** HAProxy does not take this one: what is wanted without it. */
  reject(wanted: W, file: string, certificate: CertificateFile, why: string): W;
  /** Puts it on disk before anything is taken away: what a crash in the middle leaves is found by the next start. */
  store(wanted: W): Promise<void>;
}

export function createEqualiser<W extends Wanted>(options: EqualiserOptions<W>): Equaliser<W> {
  const { haproxy, directory, log, reject, store } = options;
  let view: View = UNKNOWN;
  let listening = new Set<number>();
  let lookedAtMs = 0;
  let lookTookMs = 0;
  const work = { backends: 0, commands: 0 };

  const look = async (): Promise<Running> => {
    const fromMs = performance.now();
    const running = await haproxy.running();
    lookedAtMs = performance.now();
    lookTookMs = lookedAtMs - fromMs;
    listening = portsOf(running);
    return running;
  };

  /** Loads what is new; what HAProxy does not take is left out from now on. */
  const load = async (wanted: W, files: readonly string[]): Promise<W> => {
    let rest = wanted;
    for (const file of files) {
      const certificate = wanted.certificates.get(file)!;
      const why = await haproxy.certificates.load(file, certificate);
      if (why !== undefined) rest = reject(rest, file, certificate, why);
    }
    return rest;
  };

  /** Older workers still answer on connections they have. */
  const equaliseOld = async (wanted: W, now: Running, reachable: ReadonlySet<string>, scope: Scope | undefined) => {
    if ((await haproxy.processes()).old.length === 0) return;
    const some = scope === undefined ? undefined : withBackendsOfRoutes(scope, wanted);
    const up = upIn(now, some);
    const accepting = new Set([...reachable, ...up]);
    await haproxy.runOnOld(async (old) => {
      const fitted = fitTo(old, wanted, some === undefined || isLarge(some) ? undefined : some);
      const within = fitted.scope === undefined ? {} : { scope: fitted.scope };
      return (await inSlices(differences(old, fitted, { directory, reachable: accepting, ...within }))).commands;
    }, some);
  };

  return {
    async equalise(goal, isExpected) {
      const scope = view.kind === "proven" ? await inSlices(scopeBetween(view.wanted, goal)) : undefined;
      const proven = view.kind === "proven" ? view : undefined;
      if (proven && isNothing(scope!) && proven.wanted.certificates === goal.certificates) {
        await store(goal);
        view = { ...proven, wanted: goal };
        return { wanted: goal, reload: undefined };
      }
      const isDriftCheck = proven === undefined && !isExpected;
      const now = proven?.running ?? (await look());
      view = UNKNOWN;
      const certificates =
        proven?.wanted.certificates === goal.certificates
          ? { add: [], remove: [] }
          : certificateChanges(now.certificates, goal.certificates);
      const wanted = await load(goal, certificates.add);
      const within = scope === undefined ? {} : { scope };
      const reachable = await probe(await inSlices(newAddresses(now, wanted.assignment, scope)));
      const { commands, reload } = await inSlices(differences(now, wanted, { directory, reachable, ...within }));
      work.backends += scope === undefined ? wanted.assignment.backends.length : scope.backends.size;
      work.commands += commands.length;
      if (isDriftCheck && commands.length > 0) log.warn({ commands: commands.slice(0, 20) }, "haproxy had drifted");
      let isRefused = false;
      await haproxy.run(commands).catch((error: unknown) => {
        isRefused = true; // what it did of it is not known: the configuration on disk is
        log.error({ err: error }, "haproxy command failed");
      });
      if (commands.length > 0) await equaliseOld(wanted, now, reachable, scope);
      await store(wanted);
      for (const file of certificates.remove) await haproxy.certificates.unload(file);
      const areOthers = certificates.add.length + certificates.remove.length > 0;
      if (areOthers) {
        await haproxy.certificates.sweep(wanted.certificates);
        log.info({ added: certificates.add.length, removed: certificates.remove.length }, "certificates changed");
      }
      if (isRefused) view = UNKNOWN;
      else if (commands.length === 0 && !areOthers && reload === undefined)
        view = { kind: "proven", running: now, wanted };
      else {
        const touched = commands.length > COMMANDS_MOST ? undefined : touchedBy(commands, wanted);
        view = { kind: "commanded", before: now, touched: touched && { ...touched, certificates: areOthers } };
      }
      return { wanted, reload: isRefused ? "all" : reload };
    },

    async verify(wanted, waitedFor) {
      const { touched } = view.kind === "commanded" ? view : {};
      const scope = touched === undefined || isLarge(touched) ? undefined : touched;
      const running = view.kind === "commanded" && scope ? await haproxy.readAgain(view.before, scope) : await look();
      view = UNKNOWN;
      const within = scope === undefined ? {} : { scope };
      const compared = differences(running, wanted, { directory, reachable: new Set(), ...within });
      const { commands, reload } = await inSlices(compared);
      if (scope === undefined || scope.certificates) {
        const { add, remove } = certificateChanges(running.certificates, wanted.certificates);
        if (add.length + remove.length > 0) throw new Error("haproxy has other certificates than it should");
      }
      if (commands.length > 0 || (reload !== undefined && reload !== waitedFor))
        throw new Error(`haproxy is not as wanted: ${commands.flat().slice(0, 3).join("; ") || "slots are missing"}`);
      view = { kind: "proven", running, wanted };
    },

    isProven: () => view.kind === "proven",
    forget() {
      view = UNKNOWN;
    },
    lookedAtMs: () => lookedAtMs,
    lookTookMs: () => lookTookMs,
    listening: () => listening,
    work: () => ({ ...work }),
  };
}

/** `address:port` of slots that pass their checks. */
function upIn({ slots }: Running, scope: Scope | undefined): string[] {
  const found: string[] = [];
  const add = (name: string) => {
    const slot = slots.get(name);
    if (slot?.isUp) found.push(`${slot.address}:${slot.port}`);
  };
  if (scope === undefined) for (const name of slots.keys()) add(name);
  else
    for (const [name, backend] of scope.backends) for (let s = 1; s <= backend.slots.length; s++) add(`${name}/s${s}`);
  return found;
}

function portsOf({ slots }: Running): Set<number> {
  const ports = new Set<number>();
  for (const name of slots.keys()) if (isTcp(name)) ports.add(Number(/^tcp_(\d+)\//.exec(name)?.[1]));
  return ports;
}
