import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import type { Assignment } from "../../router/assignment.ts";
import type { CertificateFiles } from "../../router/certificates.ts";
import { ensureDefaultCertificate } from "../../router/default-certificate.ts";
import { HOP_SCRIPT, hopScript } from "../../router/hop-script.ts";
import { noMaps } from "../../router/maps.ts";
import { render, renderShape } from "../../router/render.ts";
import type { RenderOptions } from "../../router/render-options.ts";
import { matchesGolden } from "../golden/golden.ts";

const OPTIONS: RenderOptions = {
  directory: "/var/lib/flynn/router/haproxy",
  bind: "0.0.0.0",
  httpPort: 80,
  httpsPort: 443,
  proxySources: ["10.1.0.0/16", "192.168.1.7", "2001:db8::/32"],
  trustedFronts: ["10.1.0.0/16", "2001:db8:1::/48"],
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
  tcp: [
    {
      port: 3000,
      pool: { id: "app-1/db", app: "hello" },
      slots: [{ jobId: "j4", address: "100.64.1.3", port: 5432, state: "up" }, null],
    },
    { port: 3001, proxyProtocol: "v2", slots: [null] },
  ],
};
const MAPS = {
  ...noMaps(),
  routes: new Map([
    ["hello.test/", "be_0001:rs:31536000"],
    ["*.hello.test/api/", "be_0001"],
  ]),
  replies: new Map([["be_0001/503", "bm8K"]]),
  sticky: new Map([["be_0001/0123456789abcdef", "s1"]]),
  jobs: new Map([["be_0001/s1", "0123456789abcdef"]]),
};
const CERTIFICATES: CertificateFiles = new Map([
  ["b.pem", { id: "crt-2", pem: "", names: ["*.b.test"] }],
  ["a.pem", { id: "crt-1", pem: "", names: ["a.test", "www.a.test"] }],
]);
const WANTED = { assignment: ASSIGNMENT, maps: MAPS, certificates: CERTIFICATES };

test("the configuration is what it was agreed to be", () => {
  const { cfg, maps, certificateList } = render(WANTED, OPTIONS);
  matchesGolden("haproxy.cfg", cfg);
  assert.equal(maps, {
    "routes.map": "hello.test/ be_0001:rs:31536000\n*.hello.test/api/ be_0001\n",
    "replies.map": "be_0001/503 bm8K\n",
    "sticky.map": "be_0001/0123456789abcdef s1\n",
    "jobs.map": "be_0001/s1 0123456789abcdef\n",
  });
  const folder = `${OPTIONS.directory}/certificates`;
  assert.is(certificateList, `${folder}/a.pem a.test www.a.test\n${folder}/b.pem *.b.test\n`);
});

test("without account, log and thread count nothing of them is printed; IPv6 is listened on in brackets", () => {
  const options = {
    ...OPTIONS,
    account: undefined,
    accessLog: false,
    bind: "::",
    threads: 1,
    httpPort: 8080,
    httpsPort: undefined,
    proxySources: [],
    trustedFronts: [],
  };
  const none = { assignment: { backends: [] }, maps: noMaps(), certificates: new Map() };
  matchesGolden("haproxy-small.cfg", render(none, options).cfg);
});

test("HAProxy finds nothing to warn about in it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "router-render-"));
  try {
    const options = { ...OPTIONS, directory, httpPort: 18_080, httpsPort: 18_443 };
    const { cfg, maps } = render(WANTED, options);
    for (const [name, text] of Object.entries(maps)) await writeFile(join(directory, name), text);
    await writeFile(join(directory, "certificates.list"), "");
    await writeFile(join(directory, HOP_SCRIPT), hopScript);
    await ensureDefaultCertificate(join(directory, "default.pem"));
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
  assert.is(renderShape({ ...ASSIGNMENT, backends: [{ slots: [null, null, null, null] }, second!] }, OPTIONS), shape);
  assert.is.not(renderShape({ ...ASSIGNMENT, backends: [first!, { slots: [null, null] }] }, OPTIONS), shape);
  assert.is.not(renderShape(ASSIGNMENT, { ...OPTIONS, httpPort: 81 }), shape);
  assert.is.not(renderShape({ ...ASSIGNMENT, tcp: [] }, OPTIONS), shape, "nor are the ports");
});

test.run();
