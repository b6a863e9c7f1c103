import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readJson } from "#lib/files.ts";
import { commandLine, isAlive, type ProcessId, processId } from "#lib/process-id.ts";
import { until } from "#lib/time.ts";
import type { Part } from "../../../cli/up/parts.ts";
import { supervise } from "../../../cli/up/supervisor.ts";
import { onSmallDisk } from "../../lib/small-disk.ts";

interface Deaths {
  how: string;
  waitMs: number;
}

/** A part that runs `program` (a module) with its config file as the argument, in a folder of its own. */
async function withPart(program: string, body: (part: Part, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "supervisor-"));
  const path = join(folder, "part.json");
  const main = join(folder, "main.mjs");
  await writeFile(main, program);
  const argv = [process.execPath, main, path];
  try {
    await body(
      { name: "control", argv, file: { path, content: "{}\n" }, ports: [], stateDir: join(folder, "s") },
      folder,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function start(part: Part, folder: string, onLine?: (line: string) => void) {
  const stop = new AbortController();
  const deaths: Deaths[] = [];
  const troubles: unknown[] = [];
  const child = supervise(part, {
    runDir: folder,
    logDir: join(folder, "log"),
    signal: stop.signal,
    env: { PATH: process.env["PATH"] },
    onLine,
    onDeath: (_name, how, waitMs) => deaths.push({ how, waitMs }),
    onTrouble: (_name, error) => troubles.push(error),
    stopGraceMs: 2_000,
  });
  const end = async () => {
    stop.abort();
    await child.done;
  };
  return { child, deaths, troubles, end };
}

/** Command lines of living processes that name `path`. */
async function commandLinesWith(path: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const lines = await Promise.all(pids.map((pid) => commandLine(pid)));
  return lines.filter((line) => line.includes(path));
}

const STAYS = "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 1000); console.log('up');";
const running = (child: { pid: number | undefined }) =>
  until(() => child.pid, { what: "the child running", timeoutMs: 10_000, everyMs: 10 });

test("a child that dies is started again, and its end leaves no process and no pid file", async () => {
  await withPart(STAYS, async (part, folder) => {
    const { child, deaths, end } = start(part, folder);
    const first = await running(child);
    process.kill(first, "SIGKILL");
    const second = await until(() => (child.pid !== first ? child.pid : undefined), {
      what: "another",
      timeoutMs: 10_000,
    });
    assert.is(child.restarts, 1);
    assert.equal(deaths, [{ how: "died of SIGKILL", waitMs: 200 }]);
    await end();
    assert.is(await processId(second), undefined);
    assert.is(await readJson(join(folder, "control.pid.json")), undefined);
  });
});

test("one that dies at once waits longer each time", async () => {
  await withPart("process.exit(3);", async (part, folder) => {
    const { deaths, end } = start(part, folder);
    await until(() => deaths.length >= 3, { what: "three deaths", timeoutMs: 20_000 });
    await end();
    assert.equal(
      deaths.slice(0, 3).map(({ how }) => how),
      ["exited 3", "exited 3", "exited 3"],
    );
    assert.is(deaths[0]!.waitMs, 200);
    assert.ok(deaths[2]!.waitMs >= 500, `${deaths[2]!.waitMs}`);
  });
});

test("a program that is not there is a death with its reason, not the end of supervision", async () => {
  await withPart(STAYS, async (part, folder) => {
    const { deaths, end } = start({ ...part, argv: [join(folder, "nosuch")] }, folder);
    await until(() => deaths.length >= 2, { what: "two tries", timeoutMs: 10_000 });
    await end();
    assert.match(deaths[0]!.how, /could not be started: .*ENOENT/);
  });
});

test("when a pid cannot be noted the child is ended, not left behind", async () => {
  await withPart(STAYS, async (part, folder) => {
    await mkdir(join(folder, `control.pid.json.${process.pid}.tmp`)); // where the note would be written first
    const { deaths, end } = start(part, folder);
    await until(() => deaths.length > 1, { what: "two refusals", timeoutMs: 20_000, everyMs: 5 });
    await end();
    assert.match(deaths[0]!.how, /could not be run: .*EISDIR/);
    assert.equal(await commandLinesWith(part.file.path), []);
  });
});

test("on a full disk a part is started again all the same, and its pid is noted once there is room", () =>
  onSmallDisk(async ({ path: folder, fill, free }) => {
    const path = join(folder, "part.json");
    const main = join(folder, "main.mjs");
    await writeFile(main, STAYS);
    const part: Part = {
      ...{ name: "control", argv: [process.execPath, main, path], ports: [], stateDir: join(folder, "s") },
      file: { path, content: "{}\n" },
    };
    const { child, troubles, end } = start(part, folder);
    try {
      const noted = () => readJson<ProcessId>(join(folder, "control.pid.json"));
      let { pid } = await until(noted, { what: "the first pid", timeoutMs: 20_000, everyMs: 5 });
      await fill();
      process.kill(pid, "SIGKILL");
      // The note of the one that died left room for the next one's: what is left is filled until none is.
      const isFull = async () => {
        await fill();
        const now = await noted();
        if (now !== undefined && now.pid !== pid && now.pid === child.pid) {
          pid = now.pid;
          process.kill(pid, "SIGKILL");
        }
        return troubles.length > 0;
      };
      await until(isFull, { what: "the trouble", timeoutMs: 60_000, everyMs: 5 });
      const next = child.pid;
      assert.ok(next !== undefined && next !== pid, "it was not started again");
      await free();
      const isNext = async () => (await noted())?.pid === next;
      await until(isNext, { what: "its pid", timeoutMs: 20_000, everyMs: 50 });
      assert.is(troubles.length, 1, "it is said once");
    } finally {
      await end();
    }
  }));

test("stdout comes line by line, however it is cut", async () => {
  const program =
    "process.stdout.write('{\"a\":'); setTimeout(() => process.stdout.write('1}\\nnext\\n'), 50); setInterval(() => {}, 1000);";
  await withPart(program, async (part, folder) => {
    const lines: string[] = [];
    const { end } = start(part, folder, (line) => lines.push(line));
    await until(() => lines.length === 2, { what: "two lines", timeoutMs: 10_000, everyMs: 10 });
    await end();
    assert.equal(lines, ['{"a":1}', "next"]);
  });
});

test("a restart asked for ends the child kindly and starts it again", async () => {
  await withPart(STAYS, async (part, folder) => {
    const { child, deaths, end } = start(part, folder, () => undefined);
    const first = await running(child);
    await child.restart();
    await until(() => child.pid !== undefined && child.pid !== first, {
      what: "another",
      timeoutMs: 10_000,
      everyMs: 10,
    });
    await end();
    assert.is(deaths.length, 1);
  });
});

test("a child of a run that was killed is ended first; another process with that pid is not touched", async () => {
  await withPart(STAYS, async (part, folder) => {
    const ours = spawn(part.argv[0]!, part.argv.slice(1), { stdio: "ignore" });
    const stranger = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
    try {
      const [left, other] = [(await processId(ours.pid!))!, (await processId(stranger.pid!))!];
      const pidFile = join(folder, "control.pid.json");
      await writeFile(pidFile, JSON.stringify(left));
      const one = start(part, folder);
      await running(one.child);
      assert.not.ok(await isAlive(left));
      await one.end();
      await writeFile(pidFile, JSON.stringify(other));
      const two = start(part, folder);
      await running(two.child);
      assert.ok(await isAlive(other), "its command line is not the part's");
      await two.end();
      await writeFile(pidFile, JSON.stringify({ ...other, startTicks: other.startTicks - 1 } satisfies ProcessId));
      const three = start(part, folder);
      await running(three.child);
      assert.ok(await isAlive(other));
      await three.end();
    } finally {
      ours.kill("SIGKILL");
      stranger.kill("SIGKILL");
    }
  });
});

test.run();
