// Free space of control's disk: what follows from it, and that nothing brings bulk bytes past the gate. Every endpoint of the contract
// is asked: one that takes an upload and has no gate fails here.
import { request } from "node:https";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { createArtifact } from "#api/artifacts.ts";
import type { Endpoint } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { FAULTS, type Fault, isFault } from "#api/fault.ts";
import { createService, updateService } from "#api/services.ts";
import { getStatus, listEvents } from "#api/status.ts";
import { sleep, until } from "#lib/time.ts";
import { diskPart, floorOf, nextState, type Reading } from "../../../control/disk/floor.ts";
import { GIB, type Member, type Rig, withRig } from "../rig.ts";

const reading = (freeBytes: number, path = "/state", totalBytes = 100 * GIB): Reading => ({
  path,
  freeBytes,
  totalBytes,
});
const none = new Set<string>();

test("the floor is 2 % of the disk, at least 1 GiB and at most 10 GiB, or what is configured", () => {
  const cases: [totalBytes: number, configuredBytes: number, floorBytes: number][] = [
    [20 * GIB, 0, GIB],
    [100 * GIB, 0, 2 * GIB],
    [10_000 * GIB, 0, 10 * GIB],
    [10_000 * GIB, 5, 5],
  ];
  for (const [total, configured, floor] of cases) assert.is(floorOf(total, configured), floor);
});

test("a disk below its floor is full until a tenth more than the floor is free, and the worst disk counts", () => {
  const low = (was: string[], ...readings: Reading[]) => nextState(new Set(was), readings, GIB)!;
  assert.is(low([], reading(GIB)).low, false);
  assert.is(low([], reading(GIB - 1)).low, true);
  assert.is(low(["/state"], reading(1.05 * GIB)).low, true);
  assert.is(low(["/state"], reading(1.11 * GIB)).low, false);
  assert.is(low([], reading(5 * GIB), reading(GIB - 1, "/registry")).path, "/registry");
  assert.is(low(["/state"], reading(1.05 * GIB), reading(1.01 * GIB, "/registry")).path, "/state");
  assert.is(nextState(none, [], GIB), undefined);
});

test("a disk with 2 % of its inodes left is full too, and says so", () => {
  const after = (freeInodes: number, inodes: number, was: string[] = []) =>
    nextState(new Set(was), [{ ...reading(50 * GIB), inodes, freeInodes }], GIB)!;
  assert.equal([after(1_999, 100_000).low, after(2_000, 100_000).low, after(0, 0).low], [true, false, false]);
  assert.is(after(2_100, 100_000, ["/state"]).low, true);
  assert.match(diskPart(after(1_999, 100_000)).message, /50 GiB of 100 GiB and 1999 of 100000 inodes free on/);
});

test("status says how much is free, and from where on uploads are taken", () => {
  const part = diskPart(nextState(none, [reading(0.8 * GIB)], GIB));
  assert.is(part.state, "degraded");
  assert.is(part.message, "819 MiB of 100 GiB free on /state; uploads and pushes are refused until 1.1 GiB are");
  assert.is(diskPart(nextState(none, [reading(8 * GIB)], GIB)).state, "ok");
  assert.is(diskPart(undefined).state, "degraded");
});

/** A control whose disk has as much free as the test says. */
async function withDisk(body: (rig: Rig, disk: { freeBytes: number }) => Promise<void>, loops = false): Promise<void> {
  const disk = { freeBytes: 50 * GIB };
  const readDisk = async (path: string) => reading(disk.freeBytes, path);
  await withRig((rig) => body(rig, disk), { loops, readDisk, freeFloorBytes: GIB });
}

const refusal = (work: Promise<unknown>): Promise<Fault> =>
  work.then(
    () => Promise.reject(new Error("was taken")),
    (error: unknown) => (isFault(error) ? error : Promise.reject(error)),
  );

/** What each endpoint that fills the disk without an upload is asked with; a new one fails until it is here. */
const BULK: Record<string, { path: string; body?: object }> = {
  createService: { path: "/v1/services", body: { name: "other", image: "hello:1" } },
  updateService: { path: "/v1/services/hello", body: { image: "hello:1" } },
  redeploy: { path: "/v1/apps/hello/redeploy" },
};

test("below the floor every endpoint that takes bulk bytes refuses them at once, in words and with 507", () =>
  withDisk(async (rig, disk) => {
    const { admin } = rig;
    await admin.call(createService, { body: { name: "hello", image: "hello:1" } });
    const host = await rig.join("host");
    disk.freeBytes = 0.8 * GIB;
    await until(async () => (await rig.control.context.room.state())?.low, {
      what: "a fresh reading",
      timeoutMs: 5_000,
    });
    const filling = controlEndpoints().filter(({ upload, bulk }) => upload !== undefined || bulk);
    assert.ok(filling.length >= 8, String(filling.map(({ id }) => id)));
    for (const endpoint of filling) {
      const { status, message } = await ask(rig, endpoint, host);
      assert.is(status, FAULTS["no-capacity"].status, `${endpoint.id}: ${message}`);
      assert.match(
        message,
        /^control has 819 MiB free on \S+; uploads start again at 1.1 GiB. Free space there: /,
        endpoint.id,
      );
    }
    // Small writes go on.
    await admin.call(createApp, { body: { name: "small" } });
    const scaled = await admin
      .call(updateService, { params: { name: "hello" }, body: { count: 2 } })
      .catch((error: Fault) => error);
    assert.ok(!isFault(scaled, "no-capacity"));
  }));

function ask(rig: Rig, endpoint: Endpoint, host: Member): Promise<{ status: number; message: string }> {
  const given = endpoint.bulk ? BULK[endpoint.id] : undefined;
  if (endpoint.bulk && given === undefined) throw new Error(`say in BULK how ${endpoint.id} fills the disk`);
  const member = endpoint.permission === "agent" ? host : undefined;
  const path =
    given?.path ??
    endpoint.path
      .replace(":app", "hello")
      .replace(":id", member?.id ?? "x")
      .replace(":build", "x");
  const query = endpoint.upload === undefined ? "" : "?app=hello&part=builder";
  const sent = given === undefined ? "bytes" : JSON.stringify(given.body ?? {});
  return new Promise((resolve, reject) => {
    const req = request(
      `${rig.url}${path}${endpoint.path.includes("/artifacts") || endpoint.path.includes("/stack") ? query : ""}`,
      {
        method: endpoint.method,
        ca: rig.caPem,
        agent: false,
        ...(member ? { cert: member.certificate, key: member.key } : {}),
        headers: {
          "content-type": endpoint.upload ?? "application/json",
          ...(member ? {} : { authorization: `Bearer ${rig.token}` }),
        },
      },
      (reply) =>
        text(reply).then((body) => resolve({ status: reply.statusCode!, message: JSON.parse(body).message }), reject),
    );
    req.on("error", reject);
    req.end(sent);
  });
}

test("an upload whose size would lead below the floor is refused before its first byte", () =>
  withDisk(async (rig, disk) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    disk.freeBytes = 3 * GIB;
    const room = rig.control.context.room;
    await until(async () => (await room.state())?.freeBytes === 3 * GIB, { what: "a fresh reading", timeoutMs: 5_000 });
    await room.admit(2 * GIB);
    const fault = await refusal(room.admit(2 * GIB + 1));
    assert.is(fault.code, "no-capacity");
    assert.match(fault.message, /an upload of 2 GiB would leave less than the 1 GiB that stay free/);
  }));

test("an upload that is under way ends with the words when the disk gets full, and the beginning and the end are events", () =>
  withDisk(async (rig, disk) => {
    const { admin } = rig;
    await admin.call(createApp, { body: { name: "hello" } });
    let sent = 0;
    const endless = Readable.from(
      (async function* () {
        for (;;) {
          yield Buffer.alloc(1 << 10);
          if (++sent === 3) disk.freeBytes = 0.5 * GIB;
          await sleep(5); // pacing: a client that sends for as long as it is let, and fills nobody's disk meanwhile
        }
      })(),
    );
    const fault = await refusal(
      admin.call(createArtifact, { query: { app: "hello" }, upload: endless, timeoutMs: 20_000 }),
    );
    assert.is(fault.code, "no-capacity", fault.message);
    assert.match(fault.message, /^control has 512 MiB free/);
    const types = async () => (await admin.call(listEvents, { query: {} })).items.map(({ type }) => type);
    await until(async () => (await types()).includes("disk.filled"), { what: "the event", timeoutMs: 10_000 });
    assert.match(JSON.stringify((await admin.call(getStatus)).parts), /uploads and pushes are refused until 1.1 GiB/);
    disk.freeBytes = 2 * GIB;
    await until(async () => (await types()).includes("disk.freed"), { what: "the other event", timeoutMs: 10_000 });
    await admin.call(createArtifact, { query: { app: "hello" }, upload: Readable.from([Buffer.from("image")]) });
  }, true));

test.run();
