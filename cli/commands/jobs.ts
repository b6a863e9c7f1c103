// ps, kill.
import { type SignalName, signalJob } from "#api/attach.ts";
import { isFault } from "#api/fault.ts";
import { listHosts } from "#api/hosts.ts";
import { getJob, type Job, listJobs, stopJob } from "#api/jobs.ts";
import { formatDuration, formatSize } from "#lib/units.ts";
import { appName } from "../apps/app.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { jobNames } from "../jobs/job-names.ts";
import { age, answer, answerList } from "../output/answer.ts";
import type { Command } from "../parse/command.ts";
import { findJob } from "./run.ts";

/** Why it is not up, and for one that crashed when it is tried again. */
function reasonOf({ reason, state, nextStartAt, desired }: Job, nowMs: number): string {
  if (nextStartAt === undefined || state !== "crashed" || desired !== "run") return reason;
  const leftMs = Date.parse(nextStartAt) - nowMs;
  const next = leftMs < 500 ? "next try now" : `next try in ${formatDuration(leftMs).replace(/\.\d+s$/, "s")}`;
  return [reason, next].filter(Boolean).join("; ");
}

export const jobCommands: readonly Command[] = [
  {
    words: "ps",
    summary: "List an app's jobs, and why those wait that do",
    more: [
      "NAME is what `exec`, `restart`, `kill` and `log -j` take: web.1 is the oldest web job. Ended jobs and those of `flynn run` have",
      "none: use the ID, or its beginning. MEMORY and DISK are in use some seconds ago.",
      "",
      "DISK is what the job has on its host's disk, of the most it may have (`flynn limit`). `ends beyond`: a job with more is ended and",
      "started again, as after a crash. `writes fail beyond`: its host has quotas, and the job finds its disk full. `near`: it",
      "has 80 % or more of its limit.",
    ].join("\n"),
    flags: [
      { name: "all", help: "Ended jobs too" },
      { name: "type", short: "t", value: "TYPE", help: "Only jobs of this process" },
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const params = { app: await appName(call) };
        const query = call.on("all") ? { all: true } : {};
        const [items, hosts] = await Promise.all([
          listAll(client, listJobs, { params, query, signal: cli.signal }),
          listAll(client, listHosts, { signal: cli.signal }).catch((error: unknown) => {
            if (isFault(error, "forbidden")) return []; // a token for apps alone: host ids instead of names
            throw error;
          }),
        ]);
        const hostNames = new Map(hosts.map(({ id, name }) => [id, name]));
        const names = jobNames(items);
        const type = call.text("type");
        const jobs = items.filter((job) => type === undefined || job.process === type);
        answerList(cli, jobs, {
          titles: ["NAME", "ID", "TYPE", "STATE", "HOST", "RELEASE", "RESTARTS", "MEMORY", "DISK", "AGE", "REASON"],
          row: (job) => [
            names.get(job.id) ?? "",
            job.id,
            job.process,
            job.desired === "run" || job.endedAt ? job.state : `${job.state}, ${job.desired}`,
            job.hostId === undefined ? "" : (hostNames.get(job.hostId) ?? job.hostId),
            `v${job.version}`,
            String(job.restarts),
            job.memoryBytes === undefined ? "" : formatSize(job.memoryBytes),
            job.disk === undefined ? "" : diskText(job.disk),
            age(job.createdAt),
            reasonOf(job, Date.now()),
          ],
          none: `${params.app} has no jobs${query.all ? "" : " now"}; see \`flynn scale\``,
        });
      }),
  },
  {
    words: "kill",
    summary: "Stop jobs; the formation starts others in their place",
    more: [
      "  flynn kill web.1                 a job by its place in its process, its id, or the beginning of its id",
      "  flynn kill --signal HUP web.1    only this signal, to the job's first process (TERM: to all); nothing else follows",
    ].join("\n"),
    args: [{ name: "JOB", required: true, rest: true }],
    flags: [
      { name: "signal", short: "s", value: "NAME", help: "Send this signal and do no more: HUP, USR1, TERM, ..." },
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const name = call.text("signal")?.toUpperCase().replace(/^SIG/, "");
        const told: Job[] = [];
        for (const word of call.args) {
          const { id } = await findJob(client, call, word);
          const input = { params: { id }, signal: cli.signal };
          if (name === undefined) told.push(await client.call(stopJob, { ...input, body: {} }));
          else {
            await client.call(signalJob, { ...input, body: { signal: name as SignalName } });
            told.push(await client.call(getJob, input));
          }
        }
        answer(cli, told, () => {
          for (const { id } of told) cli.print(name === undefined ? `Job ${id} killed.` : `SIG${name} sent to ${id}.`);
        });
      }),
  },
];

/** `1 GiB of 4 GiB (ends beyond)`: under `watch` the agent counts, and ends a job that passes its limit; under `kernel` its writes fail. */
function diskText({ usedBytes, limitBytes, enforcedBy }: NonNullable<Job["disk"]>): string {
  const near = usedBytes >= limitBytes * 0.8 ? "near, " : "";
  const beyond = DISK_BEYOND[enforcedBy] ?? enforcedBy;
  return `${formatSize(usedBytes)} of ${formatSize(limitBytes)} (${near}${beyond})`;
}

const DISK_BEYOND: Readonly<Record<string, string>> = { watch: "ends beyond", kernel: "writes fail beyond" };
