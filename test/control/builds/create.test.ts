// Making a build twice with one key: once only, and nothing is left of the second.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp } from "#api/apps.ts";
import { Fault } from "#api/fault.ts";
import { buildMaker } from "../../../control/builds/create.ts";
import { buildFiles } from "../../../control/builds/files.ts";
import { buildsOf } from "../../../control/builds/record.ts";
import { withRig } from "../rig.ts";
import { archive, NODE_APP } from "./world.ts";

test("the same key gives the build that was made first, another request with it is a conflict, and neither leaves a source", () =>
  withRig(
    async ({ admin, store, directory, control }) => {
      const { id: appId } = await admin.call(createApp, { body: { name: "hello" } });
      const files = buildFiles(join(directory, "other"));
      const make = buildMaker(control.context, files, new Map());
      const source = await archive(NODE_APP);
      const asked = (idempotencyHash: string) =>
        make({
          appId,
          source: Readable.from([source]),
          type: "git",
          by: "ann",
          signal: new AbortController().signal,
          idempotent: () => ({ idempotencyKey: "once", idempotencyHash }),
        });
      const made = await Promise.all([asked("a"), asked("a")]);
      assert.equal(made[0], made[1]);
      assert.equal(await asked("a"), made[0]);
      const other = await asked("b").catch((error: unknown) => error);
      assert.ok(other instanceof Fault && other.code === "conflict", String(other));
      assert.equal(
        buildsOf(store, appId).map(({ id }) => id),
        [made[0]!.id],
      );
      const [directories, incoming] = [files.directory(appId, "x"), files.incoming("x")].map((path) =>
        join(path, ".."),
      );
      assert.equal(await readdir(directories!), [made[0]!.id]);
      assert.equal(await readdir(incoming!), []);
    },
    { loops: false },
  ));

test("who fills his places with sources that do not come keeps nobody else from building, of his app or of another", () =>
  withRig(
    async ({ admin, directory, control }) => {
      const appOf = async (name: string) => (await admin.call(createApp, { body: { name } })).id;
      const apps = await Promise.all(["a", "b", "c", "d", "e", "f"].map(appOf));
      const make = buildMaker(control.context, buildFiles(join(directory, "places")), new Map());
      const source = await archive(NODE_APP);
      const held: Readable[] = [];
      const stop = new AbortController();
      const send = (by: string, appId: string, body: Readable, signal = stop.signal) =>
        make({ appId, source: body, type: "archive", by, signal }).catch((error: unknown) => error as Fault);
      const hold = (by: string, appId: string) => {
        const silent = new Readable({ read() {} });
        held.push(silent);
        return send(by, appId, silent);
      };
      const one = apps.map((appId) => hold("mallory", appId));
      const many = ["m1", "m2", "m3", "m4"].map((by) => hold(by, apps[0]!));
      const refused = await Promise.all([one.at(-1)!, many.at(-1)!]);
      assert.equal(
        refused.map((fault) => fault instanceof Fault && [fault.code, fault.retry]),
        [
          ["rate-limited", true],
          ["rate-limited", true],
        ],
        String(refused),
      );
      const built = await send("ann", apps[5]!, Readable.from([source]));
      assert.not.ok(built instanceof Fault, String(built));
      for (const each of held) each.destroy();
      stop.abort();
      await Promise.all([...one, ...many]);
      assert.not.ok(
        (await send("mallory", apps[0]!, Readable.from([source]), new AbortController().signal)) instanceof Error,
        "a place is given back",
      );
    },
    { loops: false },
  ));

test.run();
