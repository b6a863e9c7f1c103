// `flynn create` on a cluster whose apps have a domain from the first moment.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { certificatePin } from "#lib/x509.ts";
import { saveCluster } from "../../cli/clusters/clusters.ts";
import { clustersFile } from "../../cli/clusters/clusters-file.ts";
import { withRig } from "../control/rig.ts";
import { invoke } from "./invoke.ts";

test("create says where the app will answer", () =>
  withRig(
    async ({ url, caPem, token }) => {
      const directory = await mkdtemp(join(tmpdir(), "flynn-create-"));
      const env = { FLYNN_HOME: join(directory, "home"), HOME: directory };
      try {
        await saveCluster(clustersFile(env), { name: "rig", url, pin: certificatePin(caPem), caPem, token });
        const { code, out, err } = await invoke(["create", "shop"], { env, cwd: directory });
        assert.equal([code, out], [0, "Created shop\nhttp://shop.apps.test/\n"], err);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    },
    { appDomain: "apps.test" },
  ));

test.run();
