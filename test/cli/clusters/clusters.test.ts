// Which cluster a command is for when none is named, and what is said when there is none to take.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { firstCluster, writeClusters } from "../../../cli/clusters/clusters.ts";
import { clustersFile } from "../../../cli/clusters/clusters-file.ts";
import { invoke } from "../invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-clusters-"));
const env = { FLYNN_HOME: directory, HOME: directory };
test.after(() => rm(directory, { recursive: true, force: true }));
const cluster = (name: string) => ({ name, url: "https://127.0.0.1:1", pin: "", caPem: "", token: "secret" });

test("the CLI alone is told of adding a cluster, a clone of starting one too", () => {
  const adding = "add one: flynn cluster add NAME https://10.77.0.1:7777 --pin PIN (asks for the token)";
  assert.is(firstCluster(true), adding);
  assert.is(firstCluster(false), `${adding}; or start one on this machine: flynn up`);
});

test("when the default cluster is removed, the others are named, and how to choose one", async () => {
  const clusters = [cluster("home"), cluster("prod"), cluster("test")];
  await writeClusters(clustersFile(env), { default: "home", clusters });
  const todo = /none of the known clusters \(prod, test\) is the default; choose one: flynn cluster default NAME\n$/;
  const removed = await invoke(["cluster", "remove", "home", "--confirm", "home"], { env });
  assert.equal([removed.code, removed.out], [0, 'Cluster "home" removed.\n']);
  assert.match(removed.err, todo);
  for (const words of [["ps", "-a", "blog"], ["apps"], ["cluster", "default"]]) {
    const { code, err } = await invoke(words, { env });
    assert.is(code, 3, words.join(" "));
    assert.match(err, todo);
    assert.not.match(err, "flynn up");
  }
  const last = await invoke(["cluster", "remove", "prod"], { env });
  assert.match(last.err, "(test) is the default; choose one: flynn cluster default test\n");
  assert.is((await invoke(["cluster", "default", "test"], { env })).code, 0);
});

test.run();
