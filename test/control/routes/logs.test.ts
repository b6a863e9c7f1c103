// What routers say of requests: each batch counts once, for apps that there are.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { appLog, routerLog } from "#api/logs.ts";
import { createService } from "#api/services.ts";
import { type Member, type Rig, withRig } from "../rig.ts";

const quiet = { loops: false };
const post = (
  { client, id }: Member,
  session: string,
  seq: number,
  lines: readonly string[],
  more: { app?: string; dropped?: Record<string, number> } = {},
) =>
  client.call(routerLog, {
    params: { id },
    body: {
      session,
      seq,
      lines: lines.map((line) => ({ at: new Date().toISOString(), app: more.app ?? "hello", line })),
      dropped: more.dropped ?? {},
    },
  });
const linesOf = async ({ admin }: Rig, app = "hello"): Promise<string[]> => {
  const { items } = await admin.call(appLog, { params: { app }, query: { source: "router", lines: 1_000 } });
  return items.map(({ line }) => line);
};
const hello = ({ admin }: Rig) => admin.call(createService, { body: { name: "hello", image: "hello:1" } });

test("a batch that a router sends again, its answer lost, is told once", () =>
  withRig(async (rig) => {
    await hello(rig);
    const router = await rig.join("router");
    await post(router, "run-1", 1, ["GET /1"]);
    await post(router, "run-1", 1, ["GET /1"]);
    await post(router, "run-1", 2, ["GET /2"], { dropped: { hello: 7 } });
    await post(router, "run-1", 2, ["GET /2"], { dropped: { hello: 7 } });
    await post(router, "run-1", 1, ["GET /1"]);
    await post(router, "run-1", 3, ["GET /3"]);
    assert.equal((await linesOf(rig)).sort(), [
      `... 7 lines of requests dropped by router ${router.id}`,
      "GET /1",
      "GET /2",
      "GET /3",
    ]);
  }, quiet));

test("a router that began anew, and another one, count from their own beginning", () =>
  withRig(async (rig) => {
    await hello(rig);
    const [one, other] = [await rig.join("router"), await rig.join("router", { name: "other" })];
    await post(one, "run-1", 5, ["GET /1"]);
    await post(one, "run-2", 1, ["GET /2"]);
    await post(other, "run-2", 1, ["GET /3"]);
    assert.equal((await linesOf(rig)).sort(), ["GET /1", "GET /2", "GET /3"]);
  }, quiet));

test("requests of an app that is gone make no log, those of others beside them do", () =>
  withRig(async (rig) => {
    await hello(rig);
    const router = await rig.join("router");
    await post(router, "run-1", 1, ["GET /gone"], { app: "gone", dropped: { gone: 3, hello: 1 } });
    await rig.admin.call(createService, { body: { name: "gone", image: "hello:1" } });
    assert.equal(await linesOf(rig, "gone"), []);
    assert.equal(await linesOf(rig), [`... 1 lines of requests dropped by router ${router.id}`]);
  }, quiet));

test.run();
