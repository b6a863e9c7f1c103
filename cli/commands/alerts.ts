// alerts: what somebody should act on.
import { type Alert, getAlert, listAlerts } from "#api/alerts.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { printFacts } from "../output/table.ts";
import type { Command } from "../parse/command.ts";

export const alertCommands: readonly Command[] = [
  {
    words: "alerts",
    summary: "What somebody should act on: lost hosts, crash loops, certificates that end",
    more: "Each is raised once and goes by itself. NEXT is a command to paste; why, and what follows: `flynn alert show ID`",
    flags: [{ name: "all", help: "Those that are over too, the newest 500" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const state = call.on("all") ? "all" : "active";
        const alerts = await listAll(client, listAlerts, { query: { state }, signal: call.cli.signal });
        answerList(call.cli, alerts.toSorted(byWeight), {
          titles: ["ID", "STATE", "SINCE", "WHAT", "NEXT"],
          row: (alert) => [alert.id, stateOf(alert), `${age(alert.since)} ago`, alert.what, alert.next],
          none: "nothing needs anybody",
        });
      }),
  },
  {
    words: "alert show",
    summary: "Show an alert: what, since when, why, and what to do next",
    args: [{ name: "ID", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const alert = await client.call(getAlert, { params: { id: call.args[0]! }, signal: cli.signal });
        answer(cli, alert, () =>
          printFacts(cli, [
            ["ID", alert.id],
            ["State", stateOf(alert)],
            ["What", alert.what],
            ["Since", `${alert.since} (${age(alert.since)} ago)`],
            ["Cleared", alert.clearedAt],
            ["Why", alert.why],
            ["Next", alert.next],
            ["About", `${alert.subject.kind} ${alert.subject.name}`],
            ["Kind", alert.kind],
          ]),
        );
      }),
  },
];

const stateOf = ({ severity, clearedAt }: Alert): string => (clearedAt === undefined ? severity : "cleared");

/** Critical ones first, those that are over last, the newest of each first. */
function byWeight(a: Alert, b: Alert): number {
  const rank = (alert: Alert) => ["critical", "warning", "cleared"].indexOf(stateOf(alert));
  return rank(a) - rank(b) || (a.since < b.since ? 1 : -1);
}
