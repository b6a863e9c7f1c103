import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import type { Assignment } from "../../router/assign.ts";
import { type RenderOptions, render, renderShape } from "../../router/render.ts";

const OPTIONS: RenderOptions = {
  directory: "/var/lib/flynn/router/haproxy",
  bind: "0.0.0.0",
  httpPort: 80,
  maxConnections: 10_000,
  account: "haproxy",
  accessLog: true,
};
const ASSIGNMENT: Assignment = {
  backends: [
    {
      pool: { id: "app-1/web", app: "hello" },
      slots: [
        { jobId: "j1", address: "100.64.1.2", port: 8080, state: "up" },
        { jobId: "j2", address: "100.64.2.2", port: 8080, state: "drain" },
        { jobId: "j3", address: "100.64.3.2", port: 8080, state: "leaving" },
        null,
      ],
    },
    { slots: [null] },
  ],
};
const ROUTES = new Map([
  ["hello.test/", "be_0001"],
  ["*.hello.test/api/", "be_0001"],
]);
const golden = (name: string) => readFile(new URL(`../golden/${name}`, import.meta.url), "utf8");

test("the configuration is what it was agreed to be", async () => {
  const { cfg, routesMap, poolsMap } = render(ASSIGNMENT, ROUTES, OPTIONS);
  assert.fixture(cfg, await golden("haproxy.cfg"));
  assert.is(routesMap, "*.hello.test/api/ be_0001\nhello.test/ be_0001\n");
  assert.is(poolsMap, "be_0001 hello\n");
});

test("without account, log and thread count nothing of them is printed; IPv6 is listened on in brackets", async () => {
  const options = { ...OPTIONS, account: undefined, accessLog: false, bind: "::", threads: 1, httpPort: 8080 };
  assert.fixture(render({ backends: [] }, new Map(), options).cfg, await golden("haproxy-small.cfg"));
});

test("HAProxy finds nothing to warn about in it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "router-render-"));
  try {
    const { cfg, routesMap, poolsMap } = render(ASSIGNMENT, ROUTES, { ...OPTIONS, directory, httpPort: 18_080 });
    await writeFile(join(directory, "routes.map"), routesMap);
    await writeFile(join(directory, "pools.map"), poolsMap);
    await writeFile(join(directory, "haproxy.cfg"), cfg);
    const { stderr, stdout } = await exec(["haproxy", "-c", "-f", join(directory, "haproxy.cfg")]);
    assert.is((stderr + stdout).trim(), "Configuration file is valid");
  } finally {
    await rm(directory, { recursive: true });
  }
});

test("addresses are no part of the shape, the number of slots and the options are", () => {
  const shape = renderShape(ASSIGNMENT, OPTIONS);
  const [first, second] = ASSIGNMENT.backends;
  assert.is(renderShape({ backends: [{ slots: [null, null, null, null] }, second!] }, OPTIONS), shape);
  assert.is.not(renderShape({ backends: [first!, { slots: [null, null] }] }, OPTIONS), shape);
  assert.is.not(renderShape(ASSIGNMENT, { ...OPTIONS, httpPort: 81 }), shape);
});

test.run();
