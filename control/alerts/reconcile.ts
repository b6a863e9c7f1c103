// From what rules want to what changes: raised once when a condition has held long enough, cleared when it has been gone long
// enough. Pure but for new ids; time is what was seen to pass between two looks, so a pause of control proves nothing.
import type { Alert, AlertKind } from "#api/alerts.ts";
import { newId } from "#lib/ids.ts";
import { plainText } from "../events.ts";
import type { AlertRule, WantedAlert } from "./rule.ts";

/** Of one kind; what is beyond is raised as one alert that says how many more there are. */
export const ALERTS_PER_KIND = 100;
const REWORD_AFTER_MS = 60_000;

/** What is remembered of a condition between two looks. */
export interface Watch {
  /** ISO time of its first sighting. */
  since: string;
  heldMs: number;
  /** Undefined while it holds. */
  goneMs: number | undefined;
  /** Since its words last changed. */
  unchangedMs: number;
}
export type Watches = ReadonlyMap<string, Watch>;

export interface Outcome {
  rule: Omit<AlertRule, "wanted">;
  /** Undefined: nothing is known of its kind now, or the rule threw. */
  wanted: readonly WantedAlert[] | undefined;
}

export interface Look {
  outcomes: readonly Outcome[];
  /** Alerts that stand. */
  active: readonly Alert[];
  watches: Watches;
  /** Seen to pass since the look before. */
  elapsedMs: number;
  /** ISO time of now. */
  at: string;
  /** False: the subject was deleted, what is said of it is over at once. */
  isThere: (subject: Alert["subject"]) => boolean;
}

export interface AlertChanges {
  raised: Alert[];
  /** Other words or severity for one that stands. */
  reworded: Alert[];
  cleared: Alert[];
}

const keyOf = (kind: AlertKind, { kind: of, id }: Alert["subject"]): string => `${kind} ${of} ${id}`;

export function reconcile(look: Look): AlertChanges & { watches: Watches } {
  const { outcomes, active, at } = look;
  const watches = new Map<string, Watch>();
  const changes: AlertChanges = { raised: [], reworded: [], cleared: [] };
  const standing = new Map(active.map((alert) => [keyOf(alert.kind, alert.subject), alert]));
  const kinds = new Set(outcomes.map(({ rule }) => rule.kind));
  for (const outcome of outcomes) {
    const { rule } = outcome;
    const isOfKind = (key: string) => key.startsWith(`${rule.kind} `);
    if (outcome.wanted === undefined) {
      for (const [key, watch] of look.watches) if (isOfKind(key)) watches.set(key, watch);
      continue;
    }
    const wanted = bounded(outcome.wanted, rule, standing);
    for (const [key, one] of wanted) wantedNow(look, { rule, key, one, standing, watches, changes });
    for (const [key, alert] of standing)
      if (isOfKind(key) && !wanted.has(key)) goneNow(look, { rule, key, alert, watches, changes });
  }
  // Of a kind that this version has no rule for.
  for (const alert of active) if (!kinds.has(alert.kind)) changes.cleared.push({ ...alert, clearedAt: at });
  return { ...changes, watches };
}

interface Turn {
  rule: Outcome["rule"];
  key: string;
  watches: Map<string, Watch>;
  changes: AlertChanges;
}

function wantedNow(
  { watches: before, elapsedMs, at }: Look,
  { rule, key, one, standing, watches, changes }: Turn & { one: WantedAlert; standing: Map<string, Alert> },
): void {
  const known = before.get(key);
  const watch: Watch =
    known === undefined
      ? { since: one.since ?? at, heldMs: 0, goneMs: undefined, unchangedMs: 0 }
      : { ...known, heldMs: known.heldMs + elapsedMs, goneMs: undefined, unchangedMs: known.unchangedMs + elapsedMs };
  watches.set(key, watch);
  const alert = standing.get(key);
  if (alert === undefined) {
    if (watch.heldMs < rule.raiseAfterMs) return;
    watch.unchangedMs = 0;
    const { since: _, ...words } = one;
    changes.raised.push({ id: newId("alert", Date.parse(at)), kind: rule.kind, ...words, since: watch.since });
    return;
  }
  const { severity, what, why, next } = one;
  const words = { severity, what, why, next };
  const isSame = Object.entries(words).every(([field, value]) => alert[field as keyof typeof words] === value);
  if (isSame || (severity === alert.severity && watch.unchangedMs < (rule.rewordAfterMs ?? REWORD_AFTER_MS))) return;
  watch.unchangedMs = 0;
  changes.reworded.push({ ...alert, ...words });
}

function goneNow(
  { watches: seen, elapsedMs, at, isThere }: Look,
  { rule, key, alert, watches, changes }: Turn & { alert: Alert },
): void {
  const { goneMs: before, unchangedMs = 0 } = seen.get(key) ?? {};
  const goneMs = before === undefined ? 0 : before + elapsedMs;
  if (goneMs < rule.clearAfterMs && isThere(alert.subject))
    watches.set(key, { since: alert.since, heldMs: 0, goneMs, unchangedMs });
  else changes.cleared.push({ ...alert, clearedAt: at });
}

/** By key and in plain words; those that stand come first, so that the bound never takes one for another. */
function bounded(
  wanted: readonly WantedAlert[],
  { kind, all }: Outcome["rule"],
  standing: Map<string, Alert>,
): Map<string, WantedAlert> {
  const byKey = new Map(wanted.map((one) => [keyOf(kind, one.subject), spoken(one)]));
  if (byKey.size <= ALERTS_PER_KIND) return byKey;
  const ordered = [...byKey].sort(
    ([a], [b]) => Number(standing.has(b)) - Number(standing.has(a)) || (a < b ? -1 : a > b ? 1 : 0),
  );
  const more = ordered.length - ALERTS_PER_KIND;
  const kept = new Map(ordered.slice(0, ALERTS_PER_KIND));
  const subject: Alert["subject"] = { kind: "cluster", id: "more", name: "cluster" };
  const severity = ordered.some(([, one]) => one.severity === "critical") ? "critical" : "warning";
  return kept.set(keyOf(kind, subject), {
    subject,
    severity,
    what: `${more} more of the kind ${kind}`,
    why: `${ALERTS_PER_KIND} of a kind are raised each; the rest is counted here`,
    next: all,
  });
}

/** What hosts and firmware say is part of it. */
const spoken = (one: WantedAlert): WantedAlert => ({
  ...one,
  what: plainText(one.what, 200),
  why: plainText(one.why, 800),
  next: plainText(one.next, 200),
});
