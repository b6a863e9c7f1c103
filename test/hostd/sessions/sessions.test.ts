// Sessions on a whole hostd over real TLS: the fake engine's containers with streams of the test's own.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachJob, execJob, signalJob } from "#api/attach.ts";
import { type Client, createClient, hostServerName } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { type FrameSocket, frameSocket } from "#api/frame-socket.ts";
import type { Exit } from "#api/frames.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { loadHostdConfig } from "../../../hostd/config.ts";
import type { EngineStreams, ProcessStreams } from "../../../hostd/engine/docker-streams.ts";
import { type FakeEngine, fakeEngine } from "../../../hostd/engine/fake.ts";
import type { OutputChunk } from "../../../hostd/engine/raw-frames.ts";
import { runHostd } from "../../../hostd/program.ts";
import { commandIn } from "../../../hostd/sessions/exec.ts";
import { type FakeControl, fakeControl } from "../fake-control.ts";
import { job } from "../jobs.ts";

interface Rig {
  control: FakeControl;
  engine: FakeEngine;
  client: Client;
  stranger: Client;
  /** What the process was given, and the hands to say something for it. */
  process: {
    given: string;
    inputEnded: boolean;
    sizes: string[];
    say(text: string): void;
    end(): void;
    destroyed: boolean;
  };
}

function fakeStreams(state: Rig["process"]): EngineStreams {
  const output = new PassThrough({ objectMode: true });
  state.say = (text) => void output.write({ stream: "stdout", data: Buffer.from(text) } satisfies OutputChunk);
  state.end = () => void output.end();
  const streams: ProcessStreams = {
    output: output as AsyncIterable<OutputChunk>,
    write: async (data) => {
      state.given += String(data);
    },
    endInput() {
      state.inputEnded = true;
    },
    destroy() {
      state.destroyed = true;
      output.end();
    },
  };
  const size = async (_: string, { columns, rows }: { columns: number; rows: number }) =>
    void state.sizes.push(`${columns}x${rows}`);
  return {
    attach: async () => streams,
    exec: async () => ({ id: "exec-1", streams }),
    resize: size,
    execResize: size,
    execState: async () => ({ running: false, exitCode: 9 }),
  };
}

async function withHost(body: (rig: Rig) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-sessions-"));
  const control = await fakeControl();
  const engine = fakeEngine();
  const process = { given: "", inputEnded: false, sizes: [], destroyed: false } as unknown as Rig["process"];
  const over = new AbortController();
  const { promise: listening, resolve } = Promise.withResolvers<number>();
  const file = join(directory, "hostd.json");
  const settings = {
    controlUrls: [control.url],
    caPem: control.ca.caPem,
    joinToken: control.token,
    name: "box-1",
    stateDir: join(directory, "state"),
    runDir: join(directory, "run"),
    dockerCertsDir: join(directory, "certs.d"),
    address: "127.0.0.1",
    manageNetwork: false,
    port: 0,
  };
  await writeFile(file, JSON.stringify(settings));
  const ended = runHostd(loadHostdConfig({ file, env: {} }), over.signal, {
    engine,
    streams: fakeStreams(process),
    log: silentLog(),
    onListen: resolve,
  });
  const clients: Client[] = [];
  const clientOf = async (subject: string) => {
    const identity = await control.ca.issue({ subject, names: ["client"] });
    const urls = [`https://127.0.0.1:${await listening}`];
    const client = createClient({ urls, caPem: control.ca.caPem, serverName: hostServerName("host-1"), identity });
    clients.push(client);
    return client;
  };
  try {
    await Promise.race([listening, ended.then(() => Promise.reject(new Error("hostd ended")))]);
    const client = await clientOf("O=flynn:control,CN=control");
    await body({ control, engine, process, client, stranger: await clientOf("O=flynn:host,CN=host-2") });
  } finally {
    for (const client of clients) client.close();
    over.abort();
    await ended;
    await control.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

const attached = job({ task: { kind: "run", attach: true, tty: true, createdBy: "me" }, port: undefined });
const params = { id: "j1" };
const status = ({ engine }: Rig) => engine.containers.get("flynn-j1")?.status;
const happens = (what: string, probe: () => unknown) => until(probe, { what, timeoutMs: 10_000, everyMs: 10 });

interface Heard {
  socket: FrameSocket;
  text: string;
  started: boolean;
  exit: Exit | undefined;
}
async function open(client: Client, endpoint: typeof attachJob): Promise<Heard> {
  const socket = frameSocket(await client.connect(endpoint, { params }));
  const heard: Heard = { socket, text: "", started: false, exit: undefined };
  socket.receive((frame) => {
    if (frame.type === "stdout") heard.text += String(frame.data);
    if (frame.type === "started") heard.started = true;
    if (frame.type === "exit") heard.exit = frame.exit;
  });
  return heard;
}

test("a job for a client starts when the client comes; both sides are carried, and its end is the exit frame", () =>
  withHost(async (rig) => {
    const { control, engine, client, process } = rig;
    control.push({ jobs: [attached] });
    await happens("the container waiting", () => status(rig) === "created");
    const heard = await open(client, attachJob);
    heard.socket.send({ type: "start", start: { tty: true, columns: 101, rows: 33 } });
    await happens("the start", () => heard.started && status(rig) === "running");
    await heard.socket.sendData("stdin", Buffer.from("typed"));
    heard.socket.send({ type: "resize", columns: 140, rows: 50 });
    process.say("shown");
    await happens("both ways", () => process.given === "typed" && heard.text === "shown" && process.sizes.length === 2);
    assert.equal(process.sizes, ["101x33", "140x50"]);
    engine.exit("flynn-j1", 7);
    process.end();
    await happens("the exit", () => heard.exit !== undefined);
    assert.equal(heard.exit, { code: 7, reason: "exited 7" });
    await happens("the container being removed", () => !engine.containers.has("flynn-j1"));
    await happens("the report", () => control.reports.at(-1)?.jobs[0]?.state === "down");
    const report = control.reports.at(-1)!.jobs[0]!;
    assert.equal([report.state, report.exitCode, report.restarts], ["down", 7, 0]);
  }));

test("a client that goes takes its job along", () =>
  withHost(async (rig) => {
    const { control, engine, client } = rig;
    control.push({ jobs: [attached] });
    const heard = await open(client, attachJob);
    await happens("the start", () => status(rig) === "running");
    await heard.socket.close();
    await happens("the end", () => !engine.containers.has("flynn-j1"));
    assert.ok(engine.calls.includes("signal SIGTERM flynn-j1"));
    await happens("the report", () => control.reports.at(-1)?.jobs[0]?.reason === "its client went away");
  }));

test("a second client gets nothing of the first one's job", () =>
  withHost(async (rig) => {
    rig.control.push({ jobs: [attached] });
    const first = await open(rig.client, attachJob);
    await happens("the start", () => first.started);
    const second = await open(rig.client, attachJob);
    await happens("its refusal", () => second.exit !== undefined);
    assert.match(second.exit?.reason ?? "", "another client holds its streams");
    assert.is(status(rig), "running");
  }));

test("a job whose program cannot be started is over with the code of a shell", () =>
  withHost(async ({ control, engine, client }) => {
    engine.fail("start", new Error('exec: "nope": executable file not found in $PATH'));
    control.push({ jobs: [attached] });
    const heard = await open(client, attachJob);
    await happens("its end", () => heard.exit !== undefined);
    assert.is(heard.exit?.code, 127);
    assert.match(heard.exit?.reason ?? "", 'cannot run "nope"');
  }));

test("a command enters an app of buildpacks through the program its jobs start with; another image as it is", () => {
  const start = "/flynn/start";
  assert.equal(commandIn({ entrypoint: [start] }, ["rake", "x"]), [start, "rake", "x"]);
  assert.equal(commandIn({ entrypoint: [start] }, [start, "rake"]), [start, "rake"], "asked for by name");
  const launcher = "/cnb/lifecycle/launcher";
  for (const entrypoint of [["/cnb/process/web"], [launcher]]) {
    assert.equal(commandIn({ entrypoint }, ["rake", "x"]), [launcher, "--", "rake", "x"]);
    assert.equal(commandIn({ entrypoint }, ["/cnb/process/task"]), ["/cnb/process/task"], "asked for by name");
  }
  for (const entrypoint of [undefined, [], ["/docker-entrypoint.sh"], [start, "web"]])
    assert.equal(commandIn({ entrypoint }, ["rake"]), ["rake"], JSON.stringify(entrypoint));
});

test("a command runs in a running job only, says its exit code, and needs its first frame", () =>
  withHost(async (rig) => {
    const { control, client, process } = rig;
    const none = await open(client, execJob as typeof attachJob);
    none.socket.send({ type: "start", start: { command: ["ls"] } });
    await happens("its refusal", () => none.exit !== undefined);
    assert.match(none.exit?.reason ?? "", "not running");
    control.push({ jobs: [job()] });
    await happens("the job", () => control.reports.at(-1)?.jobs[0]?.state === "up");
    const wrong = await open(client, execJob as typeof attachJob);
    await wrong.socket.sendData("stdin", Buffer.from("too early"));
    await happens("its refusal", () => wrong.exit !== undefined);
    const heard = await open(client, execJob as typeof attachJob);
    heard.socket.send({ type: "start", start: { command: ["cat"], tty: false } });
    await heard.socket.sendData("stdin", Buffer.from("a\0b"));
    heard.socket.send({ type: "stdin-eof" });
    await happens("the end of its input", () => process.inputEnded);
    assert.is(process.given, "a\0b");
    process.end();
    await happens("the exit", () => heard.exit !== undefined);
    assert.equal(heard.exit, { code: 9 });
  }));

test("nobody but control gets in, with whatever certificate of the cluster", () =>
  withHost(async ({ control, stranger, client, engine }) => {
    control.push({ jobs: [job()] });
    await happens("the job", () => control.reports.at(-1)?.jobs[0]?.state === "up");
    for (const attempt of [
      stranger.connect(attachJob, { params }),
      stranger.connect(execJob, { params }),
      stranger.call(signalJob, { params, body: { signal: "KILL" } }),
    ]) {
      const error = await attempt.then(
        () => undefined,
        (refused: unknown) => refused,
      );
      assert.ok(isFault(error, "forbidden"), String(error));
    }
    await client.call(signalJob, { params, body: { signal: "HUP" } });
    assert.ok(engine.calls.includes("signal SIGHUP flynn-j1"));
    const wrong = await client.call(signalJob, { params, body: { signal: "NOPE" as never } }).catch((error) => error);
    assert.ok(isFault(wrong, "invalid"), String(wrong));
  }));

test.run();
