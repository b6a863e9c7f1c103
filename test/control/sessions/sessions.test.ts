// Sessions at control: who gets in before the upgrade, what a client is told while its job waits, and what ends it all.
import { request } from "node:https";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { attachJob, createSession, signalJob } from "#api/attach.ts";
import { Fault } from "#api/fault.ts";
import { frameSocket } from "#api/frame-socket.ts";
import type { Exit } from "#api/frames.ts";
import { createJob, getJob, type Job } from "#api/jobs.ts";
import { createService } from "#api/services.ts";
import { openSession } from "#api/session.ts";
import { listEvents } from "#api/status.ts";
import { until } from "#lib/time.ts";
import { sha256Hex } from "../../../control/identity/principal.ts";
import { keys } from "../../../control/keys.ts";
import type { TokenRecord } from "../../../control/records.ts";
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
    const { id } = job;
    const params = { id };
    const reader = rig.client({ token: await rig.tokenWith(["app:read"]) });
    const host = await rig.join("host");
    const attach = { id, kind: "attach" } as const;
    assert.is(await refusal(openSession(rig.client(), attach)), "unauthenticated");
    assert.is(await refusal(openSession(reader, attach)), "forbidden");
    assert.is(await refusal(openSession(host.client, attach)), "forbidden");
    assert.is(await refusal(openSession(rig.admin, { ...attach, id: "job-nope" })), "not-found");
    assert.is(await refusal(openSession(rig.admin, { id, kind: "exec" })), "conflict");
    assert.is(await refusal(openSession(rig.admin, { id, kind: "forward", port: 80 })), "conflict");
    assert.is(await refusal(openSession(rig.admin, { id, kind: "forward", port: 0 })), "invalid");
    assert.is(await refusal(openSession(rig.admin, { id, kind: "forward" })), "invalid");
    assert.is(await refusal(openSession(rig.admin, { ...attach, port: 80 })), "invalid");
    assert.is(await refusal(rig.admin.call(attachJob, { params }) as Promise<unknown>), "invalid");
  }));

interface Knock {
  path?: string;
  headers?: Record<string, string>;
  protocols?: string;
}
interface Knocked {
  status: number;
  protocol: string | undefined;
  message: string;
}

/** An upgrade as anybody may write it. */
function knock(rig: Rig, { path = "/", headers = {}, protocols }: Knock): Promise<Knocked> {
  return new Promise((resolve, reject) => {
    const all = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": Buffer.alloc(16).toString("base64"),
      ...(protocols === undefined ? {} : { "sec-websocket-protocol": protocols }),
      ...headers,
    };
    const req = request(new URL(path, rig.url), {
      headers: all,
      agent: false,
      ca: rig.caPem,
      servername: "control.flynn.internal",
    });
    req.on("response", async (reply) => {
      const { message } = JSON.parse(await text(reply)) as { message: string };
      resolve({ status: reply.statusCode!, protocol: undefined, message });
    });
    req.on("upgrade", (reply, socket) => {
      socket.destroy();
      resolve({ status: 101, protocol: reply.headers["sec-websocket-protocol"], message: "" });
    });
    req.on("error", reject);
    req.end();
  });
}
const ticketFor = async (rig: Rig, id: string, client = rig.admin): Promise<string> =>
  (await client.call(createSession, { params: { id }, body: { kind: "attach" } })).ticket;
const offered = (ticket: string): string => `flynn.frames.v1, flynn.ticket.${ticket}`;

test("a ticket alone opens a session, once: neither a token, nor a certificate, nor a ticket in the URL does", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const path = `/v1/jobs/${id}/attach`;
    const ticket = await ticketFor(rig, id);
    const token = { authorization: `Bearer ${rig.token}` };
    for (const wrong of [
      { path },
      { path, headers: token },
      { path, headers: { ...token, cookie: `ticket=${ticket}` } },
      { path, headers: token, protocols: "flynn.frames.v1" },
      { path, headers: token, protocols: `flynn.ticket.${ticket}` },
      { path: `${path}?ticket=${ticket}`, headers: token },
      { path, headers: { authorization: `Bearer ${ticket}` } },
      { path, headers: token, protocols: offered(rig.token) },
      { path, protocols: offered("") },
    ])
      assert.is((await knock(rig, wrong)).status, 401, JSON.stringify(wrong));

    const taken = await knock(rig, { path, protocols: offered(ticket) });
    assert.equal(taken, { status: 101, protocol: "flynn.frames.v1", message: "" });
    const again = await knock(rig, { path, headers: token, protocols: offered(ticket) });
    assert.is(again.status, 401);
    assert.match(again.message, "was used");
    assert.not.match(again.message, ticket);
    const { items } = await rig.admin.call(listEvents, {});
    assert.not.match(JSON.stringify(items), ticket);
  }));

test("of two that show one ticket at once, one gets in", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const it = { path: `/v1/jobs/${id}/attach`, protocols: offered(await ticketFor(rig, id)) };
    const answers = await Promise.all(Array.from({ length: 8 }, () => knock(rig, it)));
    assert.equal(answers.map(({ status }) => status).sort(), [101, ...Array.from({ length: 7 }, () => 401)]);
  }));

test("a ticket opens neither another job, nor another kind, nor a port; and is spent on them", () =>
  withRig(async (rig) => {
    await hello(rig);
    const [one, other] = [await waitingJob(rig), await waitingJob(rig)];
    for (const path of [
      `/v1/jobs/${other.id}/attach`,
      `/v1/jobs/${one.id}/exec`,
      `/v1/jobs/${one.id}/forward?port=80`,
      `/v1/jobs/${one.id}/attach?port=80`,
    ]) {
      const ticket = await ticketFor(rig, one.id);
      assert.is((await knock(rig, { path, protocols: offered(ticket) })).status, 403, path);
      assert.is((await knock(rig, { path: `/v1/jobs/${one.id}/attach`, protocols: offered(ticket) })).status, 401);
    }
  }));

test("a ticket is worth what its token is worth when it is used, and a restart makes it void", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const path = `/v1/jobs/${id}/attach`;
    const token = await rig.tokenWith(["app:write"]);
    const key = keys.token(sha256Hex(token));
    const [first, second] = [
      await ticketFor(rig, id, rig.client({ token })),
      await ticketFor(rig, id, rig.client({ token })),
    ];
    const record = rig.store.get<TokenRecord>(key)!.value;
    await rig.store.commit({
      actor: "test",
      mutations: [{ key, value: { ...record, permissions: ["app:read"] } }],
    });
    assert.is((await knock(rig, { path, protocols: offered(first) })).status, 403);
    await rig.store.commit({ actor: "test", mutations: [{ key, value: null }] });
    assert.is((await knock(rig, { path, protocols: offered(second) })).status, 401);

    const third = await ticketFor(rig, id);
    await rig.restart();
    assert.is((await knock(rig, { path, protocols: offered(third) })).status, 401);
  }));

test("tickets that nobody uses are bounded for each token, and others get theirs", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const greedy = rig.client({ token: await rig.tokenWith(["app:write"]) });
    const asked = Array.from({ length: 240 }, () =>
      ticketFor(rig, id, greedy).then(
        () => "given",
        (error: Fault) => error.code as string,
      ),
    );
    const answers = await Promise.all(asked);
    assert.is(answers.filter((answer) => answer === "given").length, 200);
    assert.equal([...new Set(answers)].sort(), ["given", "rate-limited"]);
    const path = `/v1/jobs/${id}/attach`;
    assert.is((await knock(rig, { path, protocols: offered(await ticketFor(rig, id)) })).status, 101);
  }));

test("a page of another site cannot open a session with a user's rights", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const ask = async (origin: string) => {
      const protocols = offered(await ticketFor(rig, id));
      return (await knock(rig, { path: `/v1/jobs/${id}/attach`, protocols, headers: { origin } })).status;
    };
    assert.is(await ask("https://evil.example"), 403);
    assert.is(await ask("null"), 403);
    assert.is(await ask(rig.url), 101);
  }));

test("a client is told why its job waits; when it goes, the job is over, and says who", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const socket = frameSocket(await openSession(rig.admin, { id, kind: "attach" }));
    const told: string[] = [];
    socket.receive((frame) => void (frame.type === "state" && told.push(frame.text)));
    await until(() => told.some((text) => text.includes("no host has joined yet")), {
      what: "the reason",
      timeoutMs: 30_000,
    });
    await socket.close();
    const over = async () => {
      const job = await rig.admin.call(getJob, { params: { id } });
      return job.state === "down" ? job : undefined;
    };
    assert.match((await until(over, { what: "its end", timeoutMs: 30_000 })).reason, /client went away/);
    const { items } = await rig.admin.call(listEvents, {});
    const created = items.find(({ type }) => type === "job.created")!;
    assert.match(created.message, /one-off job .* of hello: sh as run/);
    const ended = items.find(({ type }) => type === "job.attach-ended")!;
    assert.equal([ended.subject, ended.app, ended.actor], [id, "hello", "admin"]);
    assert.match(ended.message, /^sh in run job-.* ended: its connection ended$/);
    assert.not.match(JSON.stringify(items), /hunter2|SECRET/);
  }));

test("how an attached job ended is told with its exit code", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const host = await rig.host();
    host.states.set(id, { state: "down", exitCode: 3, reason: "" });
    host.start();
    const ended = async () => (await rig.admin.call(getJob, { params: { id } })).state === "down";
    await until(ended, { what: "the job's end", timeoutMs: 10_000 });
    const socket = frameSocket(await openSession(rig.admin, { id, kind: "attach" }));
    let exit: Exit | undefined;
    socket.receive((frame) => {
      if (frame.type === "exit") exit = frame.exit;
    });
    await until(() => socket.closed.aborted, { what: "the end of the session", timeoutMs: 10_000 });
    assert.is(exit?.code, 3);
    const told = async () =>
      (await rig.admin.call(listEvents, {})).items.find(({ type }) => type === "job.attach-ended")?.message;
    assert.is(await until(told, { what: "the event", timeoutMs: 30_000 }), `sh in run ${id} ended: exit 3`);
  }));

test("a token that is taken away ends the session it opened", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const token = await rig.tokenWith(["app:write"]);
    const socket = frameSocket(await openSession(rig.client({ token }), { id, kind: "attach" }));
    let exit: Exit | undefined;
    socket.receive((frame) => {
      if (frame.type === "exit") exit = frame.exit;
    });
    await rig.store.commit({ actor: "test", mutations: [{ key: keys.token(sha256Hex(token)), value: null }] });
    await until(() => socket.closed.aborted, { what: "the end of the session", timeoutMs: 10_000 });
    assert.is(exit?.code, undefined);
  }));

test("a signal that was sent is not sent again for the same key", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const call = { params: { id }, body: { signal: "HUP" as const }, idempotencyKey: "once" };
    assert.is(await refusal(rig.admin.call(signalJob, call)), "conflict", "it does not run");
    const token = rig.store.get<TokenRecord>(keys.token(sha256Hex(rig.token)))!.value;
    await rig.store.commit({
      actor: "test",
      mutations: [],
      idempotencyKey: sha256Hex(`token ${token.id}\nsignalJob\nonce`),
      idempotencyHash: rig.control.context.secrets.digest(JSON.stringify([{ id }, {}, { signal: "HUP" }])),
      result: true,
    });
    assert.equal(await rig.admin.call(signalJob, call), {});
  }));

test("the end of control ends its sessions at once", () =>
  withRig(async (rig) => {
    await hello(rig);
    const { id } = await waitingJob(rig);
    const socket = frameSocket(await openSession(rig.admin, { id, kind: "attach" }));
    await rig.restart();
    await until(() => socket.closed.aborted, { what: "the end of the session", timeoutMs: 30_000 });
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
