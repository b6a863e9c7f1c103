// time limit: 420 s
// One-off jobs and sessions with real Docker, over the CLI as people use it: bytes both ways, terminals, exit codes, and that
// nothing lives on when its client, control or hostd has died.
import { createHash, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { ExecError } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import type { Running } from "./process.ts";
import { addApp, ask, type Cluster, jobsOf, startCluster } from "./survival/cluster.ts";

const CLI = [process.execPath, fileURLToPath(new URL("../../cli/main.ts", import.meta.url))];
const lab = suite<Cluster>("sessions");

lab.before(async (context) => {
  Object.assign(context, await startCluster({ count: 2 }));
  await addApp(context, { name: "hello", count: 2 });
  const program = `#!/bin/sh\nexec ${CLI.join(" ")} "$@"\n`;
  await writeFile(join(context.scope.folder, "flynn"), program, { mode: 0o755 });
});
lab.after(async ({ scope }) => {
  await scope.close();
});

const environment = ({ scope }: Cluster) => ({
  PATH: `${scope.folder}:${process.env["PATH"]}`,
  FLYNN_HOME: join(scope.folder, "home"),
  FLYNN_APP: "hello",
  NO_COLOR: "1",
  TERM: "xterm-256color",
});

interface Said {
  code: number;
  stdout: string;
  stderr: string;
}

/** A line of sh in the appliance's namespace, where `flynn` is the CLI. */
async function sh(cluster: Cluster, script: string): Promise<Said> {
  try {
    const options = { env: environment(cluster), cwd: cluster.scope.folder, timeoutMs: 90_000 };
    return { code: 0, ...(await cluster.appliance.lan.exec(["sh", "-c", script], options)) };
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    return { code: error.exitCode, stdout: error.stdout, stderr: error.stderr };
  }
}

/** The same on a terminal of its own of 33 rows and 101 columns; all it shows is in the file of this name as it comes. */
async function onTerminal(cluster: Cluster, name: string, script: string, typed = ""): Promise<Said> {
  await writeFile(join(cluster.scope.folder, `${name}.sh`), `stty rows 33 cols 101\n${script}\ntouch ${name}.done\n`);
  const typing = `${typed || ":"}; until [ -e ${name}.done ]; do sleep 0.1; done`;
  return sh(cluster, `(${typing}) | script -qefc "sh ${name}.sh" ${name}.txt`);
}

const start = (cluster: Cluster, ...argv: string[]): Promise<Running> =>
  cluster.appliance.lan.spawn([...CLI, ...argv], { env: { ...process.env, ...environment(cluster) }, name: "session" });

/** Processes with this argument in any host's containers. */
async function inside({ hosts }: Cluster, mark: string): Promise<string[]> {
  const found = await Promise.all(hosts.map((host) => host.exec(["ps", "-eo", "args"])));
  return found
    .flatMap(({ stdout }) => stdout.split("\n"))
    .filter((line) => line.includes(mark) && !line.includes("main.ts"));
}
const runs = (cluster: Cluster, mark: string) =>
  until(async () => (await inside(cluster, mark)).length > 0, { what: `${mark} running`, timeoutMs: 30_000 });
const gone = (cluster: Cluster, mark: string, timeoutMs: number) =>
  until(async () => (await inside(cluster, mark)).length === 0, { what: `the end of ${mark}`, timeoutMs });
const oneOffs = async ({ appliance }: Cluster): Promise<Job[]> =>
  (await jobsOf(appliance, "hello")).filter(({ task }) => task !== undefined);
const webJob = async ({ appliance }: Cluster): Promise<string> =>
  (await jobsOf(appliance, "hello")).find(({ task }) => task === undefined)!.id;

lab(
  "a one-off job has the app's image and variables, says both streams apart, and gives its exit code",
  async (cluster) => {
    const { code, stdout, stderr } = await sh(
      cluster,
      `flynn run -e GREETING='hi there' -- sh -c 'echo "$GREETING $FLYNN_APP $FLYNN_PROCESS"; echo oops >&2; exit 42'`,
    );
    assert.equal([code, stdout, stderr], [42, "hi there hello run\n", "oops\n"]);
  },
);

lab("10 MiB of random bytes go through a one-off job and back unchanged", async (cluster) => {
  const bytes = randomBytes(10 << 20);
  await writeFile(join(cluster.scope.folder, "in.bin"), bytes);
  const { code, stderr } = await sh(cluster, "flynn run -- cat < in.bin > out.bin");
  assert.equal([code, stderr], [0, ""]);
  const out = await readFile(join(cluster.scope.folder, "out.bin"));
  assert.is(out.length, bytes.length);
  assert.is(createHash("sha256").update(out).digest("hex"), createHash("sha256").update(bytes).digest("hex"));
});

lab("10 MiB of random bytes go through a command in a running job and back unchanged", async (cluster) => {
  const { code, stderr } = await sh(cluster, "flynn exec web.1 -- cat < in.bin > out2.bin && cmp in.bin out2.bin");
  assert.equal([code, stderr], [0, ""]);
});

lab("a closed stdin is an end of input; an unread one holds nothing up", async (cluster) => {
  assert.equal(await sh(cluster, "flynn run -- sh -c 'cat; echo end' < /dev/null"), {
    code: 0,
    stdout: "end\n",
    stderr: "",
  });
  const { code, stdout } = await sh(
    cluster,
    "flynn exec web.1 -- sh -c 'head -c 5; echo; exit 3' < in.bin | head -c 5 | wc -c",
  );
  assert.equal([code, stdout.trim()], [0, "5"]);
});

lab("a reader that stops reading stops the writer, and gets every byte when it goes on", async (cluster) => {
  const { stdout } = await sh(
    cluster,
    "flynn run -- sh -c 'head -c 30000000 /dev/zero' | (dd bs=1 count=1 2>/dev/null; sleep 3; cat) | wc -c",
  );
  assert.is(stdout.trim(), "30000000");
});

lab(
  "a terminal has its size, TERM and 256 colours, hears of a change of size, and is itself again afterwards",
  async (cluster) => {
    const job = [
      `until [ "$(busybox stty size)" = "33 101" ]; do usleep 50000; done; echo "$TERM first"`,
      `until [ "$(busybox stty size)" = "50 140" ]; do usleep 50000; done; echo second; exit 7`,
    ].join("; ");
    await writeFile(join(cluster.scope.folder, "size-job.sh"), job);
    await onTerminal(
      cluster,
      "size",
      `before=$(stty -g)
(until grep -q first size.txt; do sleep 0.1; done; stty -F /dev/tty rows 50 cols 140) &
flynn run -- sh -c "$(cat size-job.sh)"
echo "code $?"
stty rows 33 cols 101
[ "$(stty -g)" = "$before" ] && echo restored`,
    );
    const shown = await readFile(join(cluster.scope.folder, "size.txt"), "utf8");
    assert.match(shown, /xterm-256color first\r\nsecond\r\n[\s\S]*code 7\r\nrestored/);
  },
);

lab("Ctrl-C on a terminal goes to the job, not to the command", async (cluster) => {
  await onTerminal(
    cluster,
    "ctrl-c",
    `flynn run -- sh -c 'trap "echo heard; exit 5" INT; echo ready; while :; do usleep 50000; done'
echo "code $?"`,
    `until grep -q ready ctrl-c.txt; do sleep 0.1; done; printf '\\003'`,
  );
  assert.match(await readFile(join(cluster.scope.folder, "ctrl-c.txt"), "utf8"), /heard\r\n[\s\S]*code 5/);
});

lab("a command in a running job has a terminal too, and gives its exit code", async (cluster) => {
  await onTerminal(
    cluster,
    "exec",
    `flynn exec web.2 -- sh -c 'until [ "$(busybox stty size)" = "33 101" ]; do usleep 50000; done; echo sized; exit 9'
echo "code $?"`,
  );
  assert.match(await readFile(join(cluster.scope.folder, "exec.txt"), "utf8"), /sized\r\n[\s\S]*code 9/);
  // Docker 20.10 says 126, later ones 127.
  assert.ok([126, 127].includes((await sh(cluster, "flynn exec web.1 -- no-such-program")).code));
});

lab("a signal ends a job as a shell says it", async (cluster) => {
  const client = await start(cluster, "run", "--", "sleep", "98701");
  await runs(cluster, "98701");
  const [job] = await oneOffs(cluster);
  assert.equal((await sh(cluster, `flynn kill --signal KILL ${job!.id}`)).code, 0);
  assert.is((await client.exited).code, 137);
});

lab("a client that is killed takes its one-off job and its command along, and the job says why", async (cluster) => {
  const run = await start(cluster, "run", "--", "sleep", "98702");
  const exec = await start(cluster, "exec", await webJob(cluster), "--", "sleep", "98703");
  await runs(cluster, "98702");
  await runs(cluster, "98703");
  const [job] = await oneOffs(cluster);
  await Promise.all([run.kill("SIGKILL"), exec.kill("SIGKILL")]);
  await gone(cluster, "98702", 10_000);
  await gone(cluster, "98703", 10_000);
  const over = async () => {
    const { state, reason } = await ask<Job>(cluster.appliance, "GET", `/v1/jobs/${job!.id}`);
    return state === "down" ? reason : undefined;
  };
  assert.match(await until(over, { what: "the job being over", timeoutMs: 15_000 }), /client went away/);
});

lab("control that is killed ends every session within a bound, on hosts and at clients", async (cluster) => {
  const run = await start(cluster, "run", "--", "sleep", "98704");
  const exec = await start(cluster, "exec", await webJob(cluster), "--", "sleep", "98705");
  await runs(cluster, "98704");
  await runs(cluster, "98705");
  await cluster.appliance.kill9("control");
  await gone(cluster, "98704", 15_000);
  await gone(cluster, "98705", 15_000);
  assert.is.not((await run.exited).code, 0);
  assert.is.not((await exec.exited).code, 0);
  await until(async () => (await cluster.appliance.api("GET", "/v1/status")).status === 200, {
    what: "control being back",
    timeoutMs: 30_000,
  });
});

lab("hostd that is killed leaves no session behind once it is back; the app's own jobs run on", async (cluster) => {
  const web = await webJob(cluster);
  const { hostId } = await ask<Job>(cluster.appliance, "GET", `/v1/jobs/${web}`);
  const { name } = await ask<{ name: string }>(cluster.appliance, "GET", `/v1/hosts/${hostId}`);
  const host = cluster.hosts.find((each) => each.name === name)!;
  const exec = await start(cluster, "exec", web, "--", "sleep", "98706");
  await runs(cluster, "98706");
  await host.hostd.kill("SIGKILL");
  assert.is.not((await exec.exited).code, 0);
  await host.startHostd();
  await gone(cluster, "98706", 20_000);
  assert.is((await ask<Job>(cluster.appliance, "GET", `/v1/jobs/${web}`)).state, "up");
});

lab(
  "a detached job runs on without its client, its output is the app's log, and its end is its exit code",
  async (cluster) => {
    const { code, stdout } = await sh(cluster, "flynn run -d -- sh -c 'echo said-detached; exit 4'");
    assert.is(code, 0);
    const id = stdout.trim();
    const over = async () => {
      const job = await ask<Job>(cluster.appliance, "GET", `/v1/jobs/${id}`);
      return job.state === "down" ? job : undefined;
    };
    const job = await until(over, { what: "its end", timeoutMs: 30_000 });
    assert.equal([job.exitCode, job.restarts], [4, 0]);
    const logged = async () => (await sh(cluster, `flynn log -j ${id}`)).stdout.includes("said-detached");
    await until(logged, { what: "its line in the log", timeoutMs: 10_000 });
  },
);

lab("a job that runs longer than it may is ended and says so; one out of memory says that", async (cluster) => {
  const { stdout } = await sh(cluster, "flynn run -d --timeout 2s -- sleep 98708");
  const over = (id: string) => async () => {
    const job = await ask<Job>(cluster.appliance, "GET", `/v1/jobs/${id}`);
    return job.state === "down" ? job : undefined;
  };
  const late = await until(over(stdout.trim()), { what: "its end", timeoutMs: 60_000 });
  assert.match(late.reason, "ran longer than 2.0s");
  const hungry = await sh(cluster, "flynn run -d --memory 16MiB -- sh -c 'exec tail /dev/zero'");
  const killed = await until(over(hungry.stdout.trim()), { what: "its end", timeoutMs: 60_000 });
  assert.match(killed.reason, "out of memory (limit 16");
});

lab("a port of a job is forwarded for several connections at once", async (cluster) => {
  const forward = await start(cluster, "ps", "forward", "web.1", "9181:8080");
  await forward.waitFor(/Forwarding 127\.0\.0\.1:9181/, 20_000);
  const { stdout } = await sh(cluster, "for n in 1 2 3 4; do curl -sS -m 10 http://127.0.0.1:9181/ & done; wait");
  assert.equal(stdout.split("\n").filter((line) => line.startsWith("Hello from hello")).length, 4);
  await forward.kill("SIGINT");
  await forward.exited;
});

lab("who did what is told as events, without arguments or variables", async ({ appliance }) => {
  const { items } = await ask<{ items: { type: string; message: string }[] }>(
    appliance,
    "GET",
    "/v1/events?limit=1000",
  );
  const told = items.filter(({ type }) => /^job\.(exec|attach|created)/.test(type)).map(({ message }) => message);
  assert.ok(told.some((message) => /runs sleep in web job-/.test(message)));
  assert.ok(told.some((message) => /sleep in web job-.* ended: /.test(message)));
  assert.ok(told.some((message) => /^sh in run job-.* ended: exit \d/.test(message)));
  assert.ok(told.some((message) => /one-off job .* of hello: sh as run/.test(message)));
  assert.not.match(told.join("\n"), /98703|hi there|GREETING/);
});

lab("nothing is left of any of it", async (cluster) => {
  await until(async () => (await oneOffs(cluster)).length === 0, { what: "no one-off job", timeoutMs: 20_000 });
  await until(
    async () => {
      const lists = await Promise.all(cluster.hosts.map((host) => host.docker("GET", "/containers/json?all=1")));
      return lists.flatMap(({ body }) => JSON.parse(body) as unknown[]).length === 2;
    },
    { what: "only the app's own two containers", timeoutMs: 30_000 },
  );
});

lab.run();
