// The loop of alerts: look at everything every two seconds, ask each rule, keep what changed.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Alert, AlertKind } from "#api/alerts.ts";
import { causeChain } from "#lib/run.ts";
import { every } from "#lib/time.ts";
import type { Context } from "../context.ts";
import type { LogRecord } from "../store/log.ts";
import { type AlertBook, alertBook } from "./book.ts";
import { type Outcome, reconcile, type Watches } from "./reconcile.ts";
import type { AlertRule, AlertView } from "./rule.ts";
import { ALERT_RULES } from "./rules.ts";
import { type AlertSources, alertView, isThere, restartedJobs, type SlowFacts, slowFacts } from "./view.ts";

const TICK_MS = 2_000;
/** What asks a disk or another program is asked less often. */
const SLOW_MS = 10_000;

export interface Alerts extends Pick<AlertBook, "active" | "list" | "get"> {
  /** The next durable record. */
  apply(record: LogRecord): void;
  /** One look, at a view of now. */
  look(view: AlertView): void;
  run(signal: AbortSignal): Promise<void>;
}

export interface AlertOptions {
  sources: AlertSources;
  monotonicMs: () => number;
  rules?: readonly AlertRule[];
  tickMs?: number;
}

export function createAlerts(context: Context, options: AlertOptions): Alerts {
  const { store, log, now } = context;
  const { sources, monotonicMs, rules = ALERT_RULES, tickMs = TICK_MS } = options;
  const book = alertBook({ store, log, now });
  const restarted = restartedJobs(store);
  let watches: Watches = new Map();
  let lookedMs: number | undefined;
  const broken = new Set<AlertKind>();

  const outcomeOf = (rule: AlertRule, view: AlertView): Outcome => {
    try {
      const wanted = rule.wanted(view);
      broken.delete(rule.kind);
      return { rule, wanted };
    } catch (error) {
      if (!broken.has(rule.kind)) log.error({ causes: causeChain(error), kind: rule.kind }, "an alert's rule failed");
      broken.add(rule.kind);
      return { rule, wanted: undefined };
    }
  };

  const take = (outcomes: Outcome[]): void => {
    const nowMs = monotonicMs();
    const elapsedMs = lookedMs === undefined ? 0 : Math.min(nowMs - lookedMs, 3 * tickMs);
    lookedMs = nowMs;
    const { watches: next, ...changes } = reconcile({
      outcomes,
      active: book.active(),
      watches,
      elapsedMs,
      at: now().toISOString(),
      isThere: (subject: Alert["subject"]) => isThere(store, subject),
    });
    watches = next;
    book.take(changes);
    void book.write();
  };

  const look = (view: AlertView): void => take(rules.map((rule) => outcomeOf(rule, view)));

  let failing = false;
  /** With a turn for others after each rule: with thousands of hosts all of them take longer than one may. */
  const lookSafely = async (slow: () => SlowFacts): Promise<void> => {
    try {
      const view = alertView(context, { sources, slow: slow(), restarted: restarted.list() });
      const outcomes: Outcome[] = [];
      for (const rule of rules) {
        await nextTurn();
        outcomes.push(outcomeOf(rule, view));
      }
      take(outcomes);
      failing = false;
    } catch (error) {
      if (!failing) log.error({ causes: causeChain(error) }, "alerts cannot be looked for");
      failing = true;
    }
  };

  return {
    apply: (record) => restarted.apply(record),
    active: book.active,
    list: book.list,
    get: book.get,
    look,
    async run(signal) {
      let slow: SlowFacts = { disk: undefined, registryProblem: undefined, lastBackup: undefined };
      const readSlow = async () => {
        for await (const _ of every(SLOW_MS, signal)) slow = await slowFacts(context, sources);
      };
      const lookOn = async () => {
        for await (const _ of every(tickMs, signal)) await lookSafely(() => slow);
      };
      await Promise.all([readSlow(), lookOn()]);
      await book.write();
    },
  };
}
