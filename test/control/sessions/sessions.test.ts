// Sessions at control: who gets in before the upgrade, what a client is told while its job waits, and what ends it all.
import { request } from "node:https";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachJob, execJob, forwardJob } from "#api/attach.ts";
import { Fault } from "#api/fault.ts";
import { frameSocket } from "#api/frame-socket.ts";
import type { Exit } from "#api/frames.ts";
import { createJob, getJob, type Job } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { sha256Hex } from "../../../control/identity/principal.ts";
import { keys } from "../../../control/keys.ts";
import { type Rig, withRig } from "../rig.ts";

/** An app whose first job nobody can run: there is no host. */
async function hello({ admin }: Rig): Promise<void> {
  await admin.call(createService, { body: { name: "hello", image: "hello:1" } });
}
async function waitingJob(rig: Rig): Promise<Job> {
  return rig.admin.call(createJob, {
    params: { app: "hello" },
    body: { command: ["sh", "-c", "echo $SECRET"], env: { SECRET: "hunter2" }, release: "v1", attach: true },
  });
}
const refusal = async (opening: Promise<unknown>): Promise<string> => {
  try {
    await opening;
  } catch (error) {
    assert.instance(error, Fault, String(error));
    return (error as Fault).code;
  }
  throw new Error("it was let in");
};

test("a session is refused before the upgrade: without a token, without the permission, for no job, for one that does not run", () =>
  withRig(async (rig) => {
    await hello(rig);
    const job = await waitingJob(rig);
    const params = { id: job.id };
    const reader = rig.client({ token: await rig.tokenWith(["app:read"]) });
    assert.is(await refusal(rig.client().connect(attachJob, { params })), "unauthenticated");
    assert.is(await refusal(reader.connect(attachJob, { params })), "forbidden");
    assert.is(await refusal(rig.admin.connect(attachJob, { params: { id: "job-nope" } })), "not-found");
    assert.is(await refusal(rig.admin.connect(execJob, { params })), "conflict");
    assert.is(await refusal(rig.admin.connect(forwardJob, { params, query: { port: 80 } })), "conflict");
    assert.is(await refusal(rig.admin.connect(forwardJob, { params, query: { port: 0 } })), "invalid");
    assert.is(await refusal(rig.admin.call(attachJob, { params }) as Promise<unknown>), "invalid");
  }));

test("a page of another site cannot open a session with a user's rights", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const ask = (origin: string) =>
      new Promise<number>((resolve, reject) => {
        const url = new URL(`/v1/jobs/${id}/attach`, rig.url);
        const headers = {
          authorization: `Bearer ${rig.token}`,
          connection: "Upgrade",
          upgrade: "websocket",
          "sec-websocket-version": "13",
          "sec-websocket-key": Buffer.alloc(16).toString("base64"),
          origin,
        };
        const req = request(url, { headers, ca: rig.caPem, servername: "control.flynn.internal" });
        req.on("response", (reply) => {
          reply.resume();
          resolve(reply.statusCode!);
        });
        req.on("upgrade", (_reply, socket) => {
          socket.destroy();
          resolve(101);
        });
        req.on("error", reject);
        req.end();
      });
    assert.is(await ask("https://evil.example"), 403);
    assert.is(await ask("null"), 403);
    assert.is(await ask(rig.url), 101);
  }));

test("a client is told why its job waits; when it goes, the job is over, and says who", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const socket = frameSocket(await rig.admin.connect(attachJob, { params: { id } }));
    const told: string[] = [];
    socket.receive((frame) => void (frame.type === "state" && told.push(frame.text)));
    await until(() => told.some((text) => text.includes("no host has joined yet")), {
      what: "the reason",
      timeoutMs: 5_000,
    });
    await socket.close();
    const over = async () => {
      const job = await rig.admin.call(getJob, { params: { id } });
      return job.state === "down" ? job : undefined;
    };
    assert.match((await until(over, { what: "its end", timeoutMs: 5_000 })).reason, /client went away/);
    const { items } = await rig.admin.call(listEvents, {});
    const created = items.find(({ type }) => type === "job.created")!;
    assert.match(created.message, /one-off job .* of hello: sh as run/);
    assert.not.match(JSON.stringify(items), /hunter2|SECRET/);
  }));

test("a token that is taken away ends the session it opened", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const token = await rig.tokenWith(["app:write"]);
    const socket = frameSocket(await rig.client({ token }).connect(attachJob, { params: { id } }));
    let exit: Exit | undefined;
    socket.receive((frame) => {
      if (frame.type === "exit") exit = frame.exit;
    });
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.token(sha256Hex(token)), value: null }] });
    await until(() => socket.closed.aborted, { what: "the end of the session", timeoutMs: 10_000 });
    assert.is(exit?.code, undefined);
  }));

test("the end of control ends its sessions at once", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const socket = frameSocket(await rig.admin.connect(attachJob, { params: { id } }));
    await rig.restart();
    await until(() => socket.closed.aborted, { what: "the end of the session", timeoutMs: 5_000 });
  }));

test("a job takes its limits from its process, and other ones only when they are named", () =>
  withRig(async (rig) => {
    await hello(rig);
    const params = { app: "hello" };
    const release = "v1";
    const plain = await rig.admin.call(createJob, { params, body: { process: "web", release } });
    const named = await rig.admin.call(createJob, { params, body: { process: "web", release, memoryBytes: 2 ** 31 } });
    assert.equal([plain.need.memoryBytes, named.need.memoryBytes], [512 * 1024 ** 2, 2 ** 31]);
    assert.is(named.need.cpuMillis, plain.need.cpuMillis);
    assert.is(
      await refusal(rig.admin.call(createJob, { params, body: { command: ["sh"], release, tty: true } })),
      "invalid",
    );
    assert.is(await refusal(rig.admin.call(createJob, { params, body: { command: [], release } })), "invalid");
    assert.is(await refusal(rig.admin.call(createJob, { params, body: { process: "nope", release } })), "invalid");
    const again = { params, body: { process: "web", release }, idempotencyKey: "one" };
    assert.is((await rig.admin.call(createJob, again)).id, (await rig.admin.call(createJob, again)).id);
  }));

test.run();
