// A client of the API inside the lab's network: `client.ts OPTIONS` asks for one-off jobs one after the other and prints, in
// milliseconds from the request, when each was seen to run or to have ended.
import { readFile } from "node:fs/promises";
import process from "node:process";
import { createClient } from "#api/client.ts";
import { createJob, getJob, type Job, stopJob } from "#api/jobs.ts";
import { readJson } from "#lib/files.ts";
import { run } from "#lib/run.ts";
import { until } from "#lib/time.ts";

export interface ClientOptions {
  url: string;
  caFile: string;
  /** The CLI's file of clusters, whose first has the token. */
  clustersFile: string;
  app: string;
  count: number;
  /** Waited for: the job running (it is stopped then), or its end. */
  waitFor: "running" | "exit";
}

const POLL_MS = 4;
const TIMEOUT_MS = 60_000;

async function main(signal: AbortSignal): Promise<number> {
  const options = JSON.parse(process.argv[2] ?? "{}") as ClientOptions;
  const { url, caFile, clustersFile, app, count, waitFor } = options;
  const { clusters } = (await readJson<{ clusters: { token: string }[] }>(clustersFile))!;
  const caPem = await readFile(caFile, "utf8");
  const client = createClient({ urls: [url], caPem, token: clusters[0]!.token, timeoutMs: TIMEOUT_MS });
  const reaches = (id: string, what: string, is: (job: Job) => boolean) =>
    until(
      async () => {
        const job = await client.call(getJob, { params: { id }, signal });
        if (waitFor === "running" && isOver(job)) throw new Error(`job ${id} is ${job.state}: ${job.reason}`);
        return is(job) ? job : undefined;
      },
      { what: `job ${id} being ${what}`, timeoutMs: TIMEOUT_MS, everyMs: POLL_MS, signal },
    );
  const isOver = ({ state }: Job) => state === "down" || state === "crashed" || state === "lost";
  try {
    const tookMs: number[] = [];
    for (let n = 0; n < count; n++) {
      const startedMs = performance.now();
      const command = waitFor === "running" ? ["sleep", "600"] : ["true"];
      const { id } = await client.call(createJob, {
        params: { app },
        body: { command, attach: false, tty: false },
        signal,
      });
      const seen = await reaches(id, waitFor, waitFor === "running" ? ({ state }) => state === "up" : isOver);
      tookMs.push(performance.now() - startedMs);
      if (waitFor === "exit" && seen.exitCode !== 0) throw new Error(`job ${id} ended ${seen.state}: ${seen.reason}`);
      if (waitFor === "running") await client.call(stopJob, { params: { id }, body: {}, signal });
    }
    console.log(JSON.stringify(tookMs));
    return 0;
  } finally {
    client.close();
  }
}

run(main);
