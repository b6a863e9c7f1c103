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
          idempotent: { idempotencyKey: "once", idempotencyHash },
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

test.run();
