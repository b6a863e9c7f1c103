// The list of containers against an engine of the test's own, over HTTP as Docker speaks it.
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { dockerEngine } from "../../../hostd/engine/docker.ts";
import type { Container, Engine } from "../../../hostd/engine/engine.ts";
import { inspections, type ListRow } from "../../../hostd/engine/inspections.ts";
import { container, job } from "../jobs.ts";

const row = (id: string, State = "running", Status = "Up 2 seconds"): ListRow => ({
  Id: id,
  Names: [`/flynn-${id}`],
  Image: "x",
  Labels: { "flynn.job": id, "flynn.app": "a", theirs: "no" },
  State,
  Status,
  NetworkSettings: { Networks: { flynn: { IPAddress: "100.64.7.9" } } },
});
const full = (id: string) => container(job({ id }), { id });

test("a container that does not answer is listed by what the list says, and the others in full", async () => {
  let asked = 0;
  const { of: list } = inspections({
    patienceMs: 20,
    inspect: async (id) => {
      asked++;
      return id === "hung" ? new Promise(() => undefined) : full(id);
    },
  });
  for (let n = 0; n < 3; n++) {
    const [hung, good] = await list([row("hung"), row("good")]);
    assert.equal(hung, {
      id: "hung",
      name: "flynn-hung",
      status: "running",
      labels: { "flynn.job": "hung", "flynn.app": "a" },
      image: "x",
      address: "100.64.7.9",
      unanswered: "asked",
    });
    assert.equal(good, full("good"));
  }
  assert.is(asked, 2, "one question per container is out at a time");
});

test("only the first list that meets a container waits for it", async () => {
  const answer = Promise.withResolvers<undefined>();
  const { of: list } = inspections({ patienceMs: 3_600_000, inspect: () => answer.promise });
  const first = list([row("hung")]);
  assert.is((await list([row("hung")]))[0]?.unanswered, "asked");
  answer.resolve(undefined);
  assert.equal(await first, []);
});

test("an end that the engine never tells is taken from the list, its code too, and asked for again later", async () => {
  let answers = false;
  const ended = { ...full("e"), status: "exited" as const, exitCode: 3 };
  const inspect = async () => {
    if (!answers) throw new Error("no answer");
    return ended;
  };
  const { of: list } = inspections({ inspect, againMs: 0 });
  const [found] = await list([row("e", "exited", "Exited (137) 2 seconds ago")]);
  assert.is(found?.exitCode, 137);
  assert.is(found?.unanswered, "failed");
  answers = true;
  await until(async () => (await list([row("e", "exited", "Exited (3) 1 second ago")]))[0] === ended, {
    what: "the answer",
    timeoutMs: 5_000,
    everyMs: 1,
  });
});

test("one that was said to have ended is asked for anew; no list waits for that, and its answer is announced", async () => {
  const answers: PromiseWithResolvers<Container | undefined>[] = [];
  const inspect = () => {
    answers.push(Promise.withResolvers<Container | undefined>());
    return answers.at(-1)!.promise;
  };
  const announced = Promise.withResolvers<void>();
  const { of: list, doubt } = inspections({ inspect, patienceMs: 3_600_000, onAnswer: () => announced.resolve() });
  const running = full("j");
  const ended = { ...running, status: "exited" as const, exitCode: 3 };
  const first = list([row("j")]);
  answers[0]!.resolve(running);
  assert.equal(await first, [running]);
  doubt("j");
  assert.equal(await list([row("j")]), [{ ...running, unanswered: "asked" }], "as it was known");
  doubt("j");
  assert.is((await list([row("j")]))[0]?.unanswered, "asked");
  answers[1]!.resolve(running); // what was asked before it was said again
  answers[2]!.resolve(ended);
  await announced.promise;
  assert.equal(await list([row("j")]), [ended], "though the engine's list is behind");
  assert.is(answers.length, 3);
});

test("an answer that comes after a list's patience is announced, a failure as well", async () => {
  const answers: PromiseWithResolvers<Container | undefined>[] = [];
  const inspect = () => {
    answers.push(Promise.withResolvers<Container | undefined>());
    return answers.at(-1)!.promise;
  };
  const announced = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let count = 0;
  const { of: list } = inspections({ inspect, patienceMs: 1, onAnswer: () => announced[count++]!.resolve() });
  const rows = [row("a", "exited"), row("b", "exited")];
  await list(rows);
  answers[0]!.reject(new Error("no answer"));
  await announced[0]!.promise;
  answers[1]!.resolve({ ...full("b"), status: "exited" });
  await announced[1]!.promise;
  assert.equal(
    (await list(rows)).map(({ unanswered }) => unanswered),
    ["failed", undefined],
  );
});

test("an end that Docker announces is seen once Docker answers for the container, though its own list may be behind", async () => {
  const labels = { "flynn.job": "j" };
  const released = Promise.withResolvers<void>();
  let events: ServerResponse | undefined;
  let isOver = false;
  await withDocker(
    async (path, reply) => {
      if (path.startsWith("/events")) {
        events = reply;
        return reply.flushHeaders();
      }
      if (path.startsWith("/containers/json")) return void reply.end(JSON.stringify([{ ...row("j"), Labels: labels }]));
      // Docker answers for a container once its end is dealt with.
      if (isOver) await released.promise;
      const State = { Status: isOver ? "exited" : "running", ExitCode: 5, StartedAt: "2026-01-01T00:00:00Z" };
      const NetworkSettings = { Networks: { flynn: { IPAddress: "100.64.7.9" } } };
      const rest = { Config: { Labels: labels }, HostConfig: {}, NetworkSettings };
      reply
        .setHeader("content-type", "application/json")
        .end(JSON.stringify({ ...row("j"), Name: "/flynn-j", State, ...rest }));
    },
    async (engine) => {
      const stop = new AbortController();
      const changes = engine.changes(stop.signal)[Symbol.asyncIterator]();
      const next = changes.next();
      assert.is((await engine.list())[0]?.status, "running");
      await until(() => events, { what: "the reader of events", timeoutMs: 5_000, everyMs: 1 });
      isOver = true;
      const event = JSON.stringify({ status: "die", id: "j", Type: "container", Action: "die", Actor: { ID: "j" } });
      events!.write(event.slice(0, 20));
      events!.write(`${event.slice(20)}\n`);
      assert.is((await next).done, false);
      assert.is((await engine.list())[0]?.unanswered, "asked");
      const more = changes.next();
      released.resolve();
      assert.is((await more).done, false);
      const [found] = await engine.list();
      assert.is(found?.status, "exited");
      assert.is(found?.exitCode, 5);
      stop.abort();
      await changes.return?.();
    },
  );
});

test("one that went between list and question is not listed", async () => {
  assert.equal(await inspections({ inspect: async () => undefined }).of([row("gone")]), []);
});

type Answer = (path: string, reply: ServerResponse) => unknown;
async function withDocker(answer: Answer, body: (engine: Engine) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-docker-"));
  const socketPath = join(directory, "socket");
  const server = createServer(({ url = "" }, reply) => void answer(url.replace("/v1.41", ""), reply)).listen(
    socketPath,
  );
  try {
    await once(server, "listening");
    await body(dockerEngine({ socketPath, callTimeoutMs: 60_000 }));
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
}

test("containers of an image with 8 MiB of labels are listed, and so are their neighbours", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-labels-"));
  const socketPath = join(directory, "socket");
  const theirs = "x".repeat(8 << 20);
  const server = createServer(async (request, reply) => {
    if (!request.url!.includes("/containers/json")) return void reply.writeHead(500).end("{}");
    reply.setHeader("content-type", "application/json");
    for (let n = 0; n < 9; n++) {
      const { Labels, ...rest } = row(`${n}`);
      const text = JSON.stringify({ ...rest, Labels: { ...Labels, theirs } });
      if (!reply.write(`${n === 0 ? "[" : ","}${text}`)) await once(reply, "drain");
    }
    reply.end(`,${JSON.stringify(row("neighbour"))}]`);
  }).listen(socketPath);
  try {
    await once(server, "listening");
    const found = await dockerEngine({ socketPath, callTimeoutMs: 60_000 }).list();
    assert.equal(
      found.map(({ name }) => name),
      [...Array.from({ length: 9 }, (_, n) => `flynn-${n}`), "flynn-neighbour"],
    );
    assert.equal(found[0]?.labels, { "flynn.job": "0", "flynn.app": "a" });
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test("an engine that never answers keeps no connection, log and events alike, of any number of tries", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-hung-"));
  const socketPath = join(directory, "socket");
  const open = new Set<Socket>();
  let asked = 0;
  const server = createServer((_, __: ServerResponse) => void asked++).listen(socketPath);
  server.on("connection", (socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
  });
  try {
    await once(server, "listening");
    const engine = dockerEngine({ socketPath, callTimeoutMs: 20 });
    const { signal } = new AbortController();
    for (let n = 0; n < 10; n++) {
      for (const stream of [engine.changes(signal), engine.log("flynn-x", { signal })]) {
        const error = await stream[Symbol.asyncIterator]()
          .next()
          .then(() => undefined, String);
        assert.match(String(error), /does not answer/);
      }
    }
    assert.is(asked, 20);
    await until(() => open.size === 0, { what: "the last connection's end", timeoutMs: 5_000, everyMs: 5 });
  } finally {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
