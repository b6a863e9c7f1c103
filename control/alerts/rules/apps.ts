// Alerts of apps: a process that ends again and again.
import type { Job } from "#api/jobs.ts";
import type { AlertRule } from "../rule.ts";

const CRASHES = 3;

const loops = ({ state, task, desired, restarts }: Job): boolean =>
  task === undefined && desired === "run" && state === "crashed" && restarts >= CRASHES;

export const crashLoop: AlertRule = {
  kind: "crash-loop",
  raiseAfterMs: 0,
  clearAfterMs: 120_000, // longer than from a start to its next crash
  all: "flynn apps",
  wanted({ restarted, canGoBack }) {
    const byApp = Map.groupBy(restarted.filter(loops), ({ appId }) => appId);
    return [...byApp].map(([id, jobs]) => {
      const { app, reason } = jobs.reduce((one, other) => (other.id < one.id ? other : one));
      const processes = [...new Set(jobs.map(({ process }) => process))].sort();
      return {
        subject: { kind: "app", id, name: app },
        severity: "critical",
        what: `${app} crashes again and again (${processes.join(", ")})`,
        why: `${reason || "it ends soon after each start"}; it is started again, later each time.${canGoBack.has(id) ? ` To go back to the release before: flynn rollback -a ${app}` : ""}`,
        next: `flynn log -a ${app}`,
      };
    });
  },
};

export const appNotScheduled: AlertRule = {
  kind: "app-not-scheduled",
  raiseAfterMs: 15_000,
  clearAfterMs: 30_000,
  all: "flynn status",
  wanted: ({ failingApps }) =>
    failingApps.map(({ id, name, reason }) => ({
      subject: { kind: "app", id, name },
      severity: "critical",
      what: `the jobs of ${name} cannot be decided on`,
      why: `${reason}; what runs of it goes on, and is neither replaced nor changed. It is tried again by itself; another formation may help: flynn scale -a ${name}`,
      next: `flynn ps -a ${name}`,
    })),
};
