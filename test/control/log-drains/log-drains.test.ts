// time limit: 120 s
// LogDrains of a real control to real receivers on loopback, which this control's configuration allows.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, deleteApp } from "#api/apps.ts";
import {
  createAppLogDrain,
  createLogDrain,
  deleteAppLogDrain,
  type LogDrain,
  type LogDrainRequest,
  listAppLogDrains,
  listLogDrains,
} from "#api/drains.ts";
import { isFault } from "#api/fault.ts";
import { until } from "#lib/time.ts";
import { keys } from "../../../control/keys.ts";
import { testCa } from "../../hostd/fake-control.ts";
import { type Rig, rig } from "../rig.ts";
import { httpsReceiver, type Pair, syslogReceiver } from "./receivers.ts";

let control: Rig;
let caPem: string;
let pair: Pair;
let made = 0;
test.before(async () => {
  control = await rig({ drainAllow: ["127.0.0.0/8"] });
  const ca = await testCa();
  caPem = ca.caPem;
  pair = await ca.issue({ subject: "CN=localhost", names: ["localhost"] });
});
test.after(() => control.close());

async function newApp(): Promise<string> {
  const name = `app-${++made}`;
  await control.admin.call(createApp, { body: { name } });
  return name;
}
const write = (app: string, line: string, appId = idOf(app)) =>
  control.control.context.ownLog.write({ app, appId, source: "router", line });
const idOf = (app: string) => control.control.context.store.get<string>(keys.appName(app))!.value;
const add = (app: string, body: LogDrainRequest): Promise<LogDrain> =>
  control.admin.call(createAppLogDrain, { params: { app }, body });
const drainOf = async (app: string): Promise<LogDrain> =>
  (await control.admin.call(listAppLogDrains, { params: { app } })).items[0]!;
const wait = (what: string, probe: () => boolean | Promise<boolean>) =>
  until(probe, { what, timeoutMs: 20_000, everyMs: 25 });
/** A drain begins where the log stands; once a first line came through, it has begun. */
async function begun(app: string, has: (line: string) => boolean): Promise<void> {
  await wait(`the drain of ${app} having begun`, () => {
    write(app, "begin");
    return has("begin");
  });
}
const bodies = (messages: readonly string[]) =>
  messages.map((message) => message.replace(/^<\d+>1 \S+ \S+ \S+ \S+ - - /, ""));

test("syslog over TCP: an app's lines arrive in order, another app's do not", async () => {
  const [app, other] = [await newApp(), await newApp()];
  const target = await syslogReceiver();
  const drain = await add(app, { url: `syslog://127.0.0.1:${target.port}` });
  assert.is(drain.url, `syslog://127.0.0.1:${target.port}`);
  await begun(app, (line) => bodies(target.messages).includes(line));
  write(other, "not ours");
  for (let n = 0; n < 1_200; n++) write(app, `line ${n}`);
  await wait("all lines", () => bodies(target.messages).includes("line 1199"));
  const got = bodies(target.messages).filter((line) => line.startsWith("line"));
  assert.equal(
    got,
    Array.from({ length: 1_200 }, (_, n) => `line ${n}`),
  );
  assert.not.ok(bodies(target.messages).includes("not ours"));
  assert.match(target.messages.at(-1)!, new RegExp(`^<14>1 \\S+Z ${app} router - - - line 1199$`));
  const { state, lagSeconds, dropped, sent } = await drainOf(app);
  assert.equal([state, lagSeconds, dropped, sent >= 1_200], ["idle", 0, 0, true]);
  await target.close();
});

test("a target that goes away makes the drain lag and say why; when it is back it gets the lines", async () => {
  const app = await newApp();
  const target = await syslogReceiver();
  await add(app, { url: `syslog://127.0.0.1:${target.port}` });
  await begun(app, (line) => bodies(target.messages).includes(line));
  await target.close();
  write(app, "while away");
  await wait("the drain trying again", async () => (await drainOf(app)).state === "retrying");
  const trying = await drainOf(app);
  assert.ok(trying.lagSeconds > 0 && trying.buffered >= 1, JSON.stringify(trying));
  assert.match(trying.lastError ?? "", /ECONNREFUSED|closed/);
  const again = await syslogReceiver(undefined, target.port);
  await wait("the line", () => bodies(again.messages).includes("while away"));
  await wait("an idle drain", async () => (await drainOf(app)).state === "idle");
  assert.is((await drainOf(app)).lastError, undefined);
  await again.close();
});

test("syslog over TLS: with the CA given lines arrive, with another they do not and the error says so", async () => {
  const [good, bad] = [await newApp(), await newApp()];
  const target = await syslogReceiver(pair);
  const url = `syslog+tls://localhost:${target.port}`;
  await add(good, { url, caPem });
  await add(bad, { url, caPem: (await testCa()).caPem });
  await begun(good, (line) => bodies(target.messages).includes(line));
  write(bad, "secret");
  await wait("a refused certificate", async () =>
    /certificate|verify|self.signed/i.test((await drainOf(bad)).lastError ?? ""),
  );
  assert.not.ok(bodies(target.messages).includes("secret"));
  await target.close();
});

test("HTTPS: JSON arrays, compressed, with the login of the URL, which is never shown", async () => {
  const app = await newApp();
  const target = await httpsReceiver(pair);
  const drain = await add(app, {
    url: `https://user:hunter2@localhost:${target.port}/in?token=s3cret`,
    caPem,
    gzip: true,
  });
  await begun(app, (line) => target.lines.some((entry) => entry.line === line));
  const [request] = target.requests;
  assert.is(request?.authorization, `Basic ${Buffer.from("user:hunter2").toString("base64")}`);
  assert.equal([request?.encoding, request?.path], ["gzip", "/in?token=s3cret"]);
  assert.equal([target.lines[0]!.app, target.lines[0]!.source], [app, "router"]);
  const everything = JSON.stringify([
    drain,
    await control.admin.call(listLogDrains),
    control.store.list("log-drains/"),
    control.store.list("events/"),
  ]);
  for (const secret of ["hunter2", "s3cret"]) assert.not.ok(everything.includes(secret), secret);
  await target.close();
});

test("HTTPS: Retry-After is waited for, a redirect is not followed, lines the target refuses are dropped and counted", async () => {
  const app = await newApp();
  const target = await httpsReceiver(pair);
  await add(app, { url: `https://localhost:${target.port}/`, caPem });
  await begun(app, (line) => target.lines.some((entry) => entry.line === line));
  await wait("an idle drain", async () => (await drainOf(app)).state === "idle");

  target.answer = { status: 429, headers: { "retry-after": "2" } };
  const before = target.requests.length;
  write(app, "later");
  await wait("a refused request", () => target.requests.length > before);
  target.answer = { status: 200 };
  await wait("the line", () => target.lines.some(({ line }) => line === "later"));
  const [refused, taken] = target.requests.slice(before);
  assert.ok(taken!.at - refused!.at >= 1_900, `${taken!.at - refused!.at} ms`);

  target.answer = { status: 302, headers: { location: `https://localhost:${target.port}/elsewhere` } };
  write(app, "redirected");
  await wait("a redirect", async () => /redirect, which is not followed/.test((await drainOf(app)).lastError ?? ""));
  assert.not.ok(target.requests.some(({ path }) => path === "/elsewhere"));
  target.answer = { status: 400 };
  await wait("a drop", async () => (await drainOf(app)).dropped === 1);
  target.answer = { status: 200 };
  write(app, "after");
  await wait("the next line", () => target.lines.some(({ line }) => line === "after"));
  assert.not.ok(target.lines.some(({ line }) => line === "redirected"));
  await target.close();
});

test("a target that takes nothing delays no other drain, and its drops are counted and told", async () => {
  const app = await newApp();
  const [stuck, fine] = [await syslogReceiver(), await syslogReceiver()];
  await add(app, { url: `syslog://127.0.0.1:${stuck.port}` });
  await add(app, { url: `syslog://127.0.0.1:${fine.port}` });
  await begun(app, (line) => [stuck, fine].every(({ messages }) => bodies(messages).includes(line)));
  stuck.pause();
  const payload = "x".repeat(1_000);
  let written = 0;
  await wait("drops of the stuck drain", async () => {
    for (let n = 0; n < 3_000; n++) write(app, `${written++} ${payload}`);
    const { items } = await control.admin.call(listAppLogDrains, { params: { app } });
    return items.some(({ url, dropped }) => url.endsWith(String(stuck.port)) && dropped > 0);
  });
  // control's own log gives up lines too when it is flooded like this: what matters is that new ones come through now.
  await wait("a new line at the other", () => {
    write(app, "the end");
    return bodies(fine.messages).includes("the end");
  });
  stuck.resume();
  await wait("words of the drops", () => bodies(stuck.messages).some((line) => /^\.\.\. \d+ lines dropped/.test(line)));
  await stuck.close();
  await fine.close();
});

test("a drain of the cluster takes lines of all apps; a restart of control goes on where it was, without loss", async () => {
  const [left, right] = [await newApp(), await newApp()];
  const target = await syslogReceiver();
  await control.admin.call(createLogDrain, { body: { url: `syslog://127.0.0.1:${target.port}` } });
  await begun(left, (line) => bodies(target.messages).includes(line));
  write(left, "of left");
  write(right, "of right");
  await wait("both", () => ["of left", "of right"].every((line) => bodies(target.messages).includes(line)));
  const { port } = target;
  await target.close();
  for (let n = 0; n < 20; n++) write(right, `before ${n}`);
  await wait("a lagging drain", async () => {
    const { items } = await control.admin.call(listLogDrains);
    return items.some(({ app, buffered }) => app === undefined && buffered >= 20);
  });
  await control.restart();
  write(left, "after");
  const again = await syslogReceiver(undefined, port);
  await wait("what came before and after", () =>
    ["before 0", "before 19", "after"].every((line) => bodies(again.messages).includes(line)),
  );
  const before = bodies(again.messages).filter((line) => line.startsWith("before"));
  assert.equal(
    before,
    Array.from({ length: 20 }, (_, n) => `before ${n}`),
  );
  await again.close();
});

test("addresses that control alone reaches are refused in words, and nothing is made of them", async () => {
  const app = await newApp();
  for (const url of [
    ...[
      "syslog://169.254.169.254:80",
      "https://100.64.0.5/",
      "https://10.1.2.3/",
      "https://[::1]/",
      "https://0.0.0.0/",
    ],
    ...["http://127.0.0.1/", "syslog://127.0.0.1:1/path", "https://[::ffff:169.254.169.254]/"],
  ]) {
    const error = await add(app, { url }).catch((caught: unknown) => caught);
    assert.ok(isFault(error, "invalid"), url);
  }
  assert.is((await control.admin.call(listAppLogDrains, { params: { app } })).items.length, 0);
});

test("a drain is removed by its own app only, and goes with its app", async () => {
  const [app, other] = [await newApp(), await newApp()];
  const target = await syslogReceiver();
  const { id } = await add(app, { url: `syslog://127.0.0.1:${target.port}` });
  const params = { app: other, id };
  const error = await control.admin.call(deleteAppLogDrain, { params }).catch((caught: unknown) => caught);
  assert.ok(isFault(error, "not-found"));
  await begun(app, (line) => bodies(target.messages).includes(line));
  await control.admin.call(deleteApp, { params: { app } });
  await wait(
    "the drain gone",
    async () => !(await control.admin.call(listLogDrains)).items.some((drain) => drain.id === id),
  );
  await target.close();
});

test.run();
