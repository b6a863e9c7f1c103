// The Redfish client against services that behave and services that do not: nothing is said to a stranger, nothing is done twice,
// everything ends, and each refusal has a code and plain words.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { redfishSession } from "../../../bootstrap/bmc/redfish/session.ts";
import { redfishSwitch } from "../../../bootstrap/bmc/redfish/system.ts";
import { certificateAt, transport } from "../../../bootstrap/bmc/redfish/transport.ts";
import type { Switch } from "../../../bootstrap/bmc/switch.ts";
import { troubleCode } from "../../../bootstrap/bmc/trouble.ts";
import { type RedfishFake, redfishFake, SYSTEM, send } from "./redfish-fake.ts";

const signal = AbortSignal.timeout(50_000);

async function withFake(
  body: (
    fake: RedfishFake,
    open: (options?: { timeoutMs?: number; systemId?: string; taskMs?: number }) => Switch,
  ) => Promise<void>,
): Promise<void> {
  await using fake = await redfishFake();
  const opened: Switch[] = [];
  const open = ({
    timeoutMs = 5_000,
    systemId,
    taskMs = 2_000,
  }: {
    timeoutMs?: number;
    systemId?: string;
    taskMs?: number;
  } = {}) => {
    const { address = "", user = "", password = "", pinSha256 = "" } = fake.bmc;
    const way = transport({ address, pinSha256, timeoutMs });
    const session = redfishSession({ transport: way, address, user, password, pollMs: 10, taskMs, busyMs: 500 });
    const made = redfishSwitch(session, { address, systemId });
    opened.push(made);
    return made;
  };
  try {
    await body(fake, open);
  } finally {
    for (const each of opened) await each.close();
  }
}

const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "nothing went wrong",
    (error: unknown) => troubleCode(error) ?? `no code: ${error}`,
  );

test("it logs in once, switches, sets one boot and reads it back, and logs out", () =>
  withFake(async (fake, open) => {
    const device = open();
    assert.is(await device.power(signal), "off");
    assert.is(await device.bootOnce("http", "uefi", signal), "UefiHttp, UEFI");
    assert.equal((fake.system["Boot"] as Record<string, unknown>)["BootSourceOverrideEnabled"], "Once");
    await device.on(signal);
    assert.is(await device.power(signal), "on");
    await device.off(true, signal);
    await device.off(false, signal);
    assert.equal(fake.resets, ["On", "ForceOff", "GracefulShutdown"]);
    assert.is(fake.asked.filter((one) => one.includes("POST /redfish/v1/SessionService")).length, 1);
    await device.close();
    assert.is(fake.sessions.size, 0);
  }));

test("a service with another certificate than the pinned one hears nothing, not even a user's name", () =>
  withFake(async (fake, open) => {
    const pin = await fake.changeCertificate();
    const error = await open()
      .power(signal)
      .catch((refused: unknown) => refused);
    assert.is(troubleCode(error), "bmc-certificate");
    assert.match((error as Error).message, pin);
    assert.equal(fake.asked, []);
  }));

test("the certificate of a stranger is looked at without saying anything", () =>
  withFake(async (fake) => {
    assert.is(await certificateAt(fake.bmc.address!, signal), fake.bmc.pinSha256!);
    assert.equal(fake.asked, []);
  }));

test("an answer that comes late is waited for, and one that never comes is given up", () =>
  withFake(async (fake, open) => {
    fake.before = async (request) => {
      if (request.url === SYSTEM) await new Promise((resolve) => setTimeout(resolve, 300));
      return false;
    };
    assert.is(await open().power(signal), "off");
    fake.before = (request) => request.url === SYSTEM; // and no answer
    assert.is(await codeOf(open({ timeoutMs: 200 }).power(signal)), "bmc-timeout");
  }));

test("a body without end, one that nests without end, and one that is no JSON are refused", () =>
  withFake(async (fake, open) => {
    const bodies = [`{"a":"${"x".repeat(3 << 20)}"}`, `${"[".repeat(100_000)}`, "<html>login</html>", '"PowerState"'];
    for (const [n, body] of bodies.entries()) {
      fake.before = (request, reply) => request.url === SYSTEM && send(reply, 200, body);
      const outcome = await open()
        .power(signal)
        .catch((error: unknown) => troubleCode(error));
      assert.is(outcome, n === 3 ? "unknown" : "bmc-answer", body.slice(0, 20));
    }
  }));

test("fields of the wrong type count as missing", () =>
  withFake(async (fake, open) => {
    for (const PowerState of [null, 7, {}, ["On"], "Sleeping"]) {
      fake.system["PowerState"] = PowerState;
      assert.is(await open().power(signal), "unknown", JSON.stringify(PowerState));
    }
    fake.before = (request, reply) =>
      request.url === "/redfish/v1/Systems" && send(reply, 200, { Members: "many", "Members@odata.count": 1 });
    assert.is(await codeOf(open().power(signal)), "bmc-system");
  }));

test("links to another host, or out of the service, are not followed", () =>
  withFake(async (fake, open) => {
    for (const link of [
      "https://169.254.169.254/redfish/v1/Systems/1",
      "/etc/passwd",
      "//evil.test/redfish/v1",
      "/redfish/v1/../../x",
    ]) {
      fake.before = (request, reply) =>
        request.url === "/redfish/v1/Systems" && send(reply, 200, { Members: [{ "@odata.id": link }] });
      assert.is(await codeOf(open().power(signal)), "bmc-system", link);
    }
    fake.before = (request, reply) =>
      request.url === SYSTEM && send(reply, 302, {}, { location: "https://127.0.0.1:1/redfish/v1/Systems/1" });
    assert.is(await codeOf(open().power(signal)), "bmc-answer");
    fake.before = () => false;
    const actions = fake.system["Actions"] as Record<string, Record<string, unknown>>;
    actions["#ComputerSystem.Reset"]!["target"] = "https://evil.test/steal";
    assert.is(await codeOf(open().on(signal)), "bmc-answer");
    assert.equal(fake.resets, []);
  }));

test("a session that ends in the middle is opened again, once, and the order is not given twice", () =>
  withFake(async (fake, open) => {
    const device = open();
    assert.is(await device.power(signal), "off");
    fake.forgetSessions();
    await device.on(signal);
    assert.equal(fake.resets, ["On"]);
    fake.before = (request, reply) => request.url === SYSTEM && send(reply, 401, {});
    assert.is(await codeOf(device.power(signal)), "bmc-password");
  }));

test("a wrong password is said to be one, and one that may only look too", () =>
  withFake(async (fake, open) => {
    const device = open();
    fake.before = (request, reply) =>
      request.method === "POST" &&
      request.url!.includes("Reset") &&
      send(reply, 403, { error: { message: "no\u001b[2J rights" } });
    const error = await device.on(signal).catch((refused: unknown) => refused);
    assert.is(troubleCode(error), "bmc-privilege");
    assert.not.match((error as Error).message, /\u001b/);
    fake.before = () => false;
    fake.bmc.password = "changed-meanwhile";
    fake.forgetSessions();
    assert.is(await codeOf(device.power(signal)), "bmc-password");
  }));

test("a service that is busy is asked again; for ever busy is said so", () =>
  withFake(async (fake, open) => {
    let busy = 2;
    fake.before = (request, reply) =>
      request.url === SYSTEM && busy-- > 0 && send(reply, 503, {}, { "retry-after": "0" });
    assert.is(await open().power(signal), "off");
    fake.before = (request, reply) => request.url === SYSTEM && send(reply, 503, {});
    assert.is(await codeOf(open().power(signal)), "bmc-busy");
  }));

test("settings that changed between reading and writing are read again", () =>
  withFake(async (fake, open) => {
    let changes = 2;
    fake.before = (request) => {
      if (request.method === "PATCH" && changes-- > 0) fake.etag = `"${100 + changes}"`;
      return false;
    };
    assert.is(await open().bootOnce("pxe", undefined, signal), "Pxe");
    fake.before = (request) => {
      if (request.method === "PATCH") fake.etag = `"${Number(fake.etag.slice(1, -1)) + 1}"`;
      return false;
    };
    assert.is(await codeOf(open().bootOnce("disk", undefined, signal)), "bmc-busy");
  }));

test("an override that is not what was set, or that it does not allow, is told before anything is switched", () =>
  withFake(async (fake, open) => {
    fake.before = (request, reply) => request.method === "PATCH" && send(reply, 204);
    assert.is(await codeOf(open().bootOnce("pxe", "uefi", signal)), "boot-override");
    const boot = fake.system["Boot"] as Record<string, unknown>;
    boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = ["None", "Hdd"];
    assert.is(await codeOf(open().bootOnce("pxe", "uefi", signal)), "bmc-unsupported");
    boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = undefined;
    boot["BootSourceOverrideMode@Redfish.AllowableValues"] = ["UEFI"];
    assert.is(await codeOf(open().bootOnce("pxe", "legacy", signal)), "bmc-unsupported");
    assert.equal(fake.resets, []);
  }));

test("what it allows is read where newer services say it, and the usual is asked where none says anything", () =>
  withFake(async (fake, open) => {
    const reset = (fake.system["Actions"] as Record<string, Record<string, unknown>>)["#ComputerSystem.Reset"]!;
    reset["ResetType@Redfish.AllowableValues"] = undefined;
    await open().on(signal);
    assert.equal(fake.resets, ["On"]);
    reset["@Redfish.ActionInfo"] = `${SYSTEM}/ResetActionInfo`;
    fake.before = (request, reply) =>
      request.url === `${SYSTEM}/ResetActionInfo` &&
      send(reply, 200, { Parameters: [{ Name: "ResetType", AllowableValues: ["ForceOn", "PushPowerButton"] }] });
    await open().on(signal);
    assert.is(fake.resets.at(-1), "ForceOn");
    await open().off(true, signal);
    assert.is(fake.resets.at(-1), "PushPowerButton");
  }));

test("an action that becomes a task is seen to its end, and has a bound", () =>
  withFake(async (fake, open) => {
    const task = "/redfish/v1/TaskService/Tasks/9";
    let looks = 0;
    let state: Record<string, unknown> = {};
    fake.before = (request, reply) => {
      if (request.method === "POST" && request.url!.includes("Reset")) return send(reply, 202, {}, { location: task });
      if (request.url !== task) return false;
      return send(reply, 200, ++looks < 3 ? { TaskState: "Running" } : state);
    };
    state = { TaskState: "Completed", TaskStatus: "OK" };
    await open().on(signal);
    assert.is(looks, 3);
    state = { TaskState: "Exception", Messages: [{ Message: "the\u0007 fan is missing" }] };
    const error = await open()
      .on(signal)
      .catch((refused: unknown) => refused);
    assert.is(troubleCode(error), "bmc-task");
    assert.match((error as Error).message, "the fan is missing");
    state = { TaskState: "Running" };
    assert.is(await codeOf(open({ taskMs: 100 }).on(signal)), "bmc-task");
  }));

test("of several systems one is chosen by its id, and none is guessed", () =>
  withFake(async (fake, open) => {
    fake.before = (request, reply) =>
      request.url === "/redfish/v1/Systems" &&
      send(reply, 200, { Members: [{ "@odata.id": SYSTEM }, { "@odata.id": "/redfish/v1/Systems/2" }] });
    assert.is(await codeOf(open().power(signal)), "bmc-system");
    assert.is(await open({ systemId: "1" }).power(signal), "off");
    assert.is(await codeOf(open({ systemId: "9" }).power(signal)), "bmc-system");
  }));

test("a service without sessions is given the password with each request", () =>
  withFake(async (fake, open) => {
    fake.before = (request, reply) => {
      if (request.url!.includes("SessionService")) return send(reply, 404, {});
      const basic = `Basic ${Buffer.from("flynn:geheim12").toString("base64")}`;
      if (request.url !== "/redfish/v1/" && request.headers.authorization !== basic) return send(reply, 401, {});
      if (request.url === SYSTEM) return send(reply, 200, fake.system);
      if (request.url === "/redfish/v1/Systems") return send(reply, 200, { Members: [{ "@odata.id": SYSTEM }] });
      return request.url === "/redfish/v1/" && send(reply, 200, {});
    };
    assert.is(await open().power(signal), "off");
  }));

test.run();
