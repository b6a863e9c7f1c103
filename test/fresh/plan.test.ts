import { test } from "uvu";
import * as assert from "uvu/assert";
import { freshPlan } from "./plan.ts";
import { npmrcOfRoot, rootEnvironment } from "./settings.ts";

test("what runs follows from the words, and nothing is left out in silence", () => {
  const table: [string[], ReturnType<typeof freshPlan>][] = [
    [[], { demo: true, test: [], go: true, keep: false }],
    [["--only", "unit"], { demo: false, test: ["--unit"], go: false, keep: false }],
    [["--only=unit", "test/lib", "--keep"], { demo: false, test: ["--unit", "test/lib"], go: false, keep: true }],
    [["--only", "demo"], { demo: true, test: undefined, go: false, keep: false }],
    [["--only", "test"], { demo: false, test: [], go: true, keep: false }],
    [["test/lab/push"], { demo: false, test: ["test/lab/push"], go: true, keep: false }],
  ];
  for (const [args, wanted] of table) assert.equal(freshPlan(args), wanted, args.join(" "));
  for (const args of [["--only"], ["--only", "lab"], ["--kep"], ["--only", "demo", "x"]])
    assert.match(String(freshPlan(args)), /usage: npm run test:fresh/, args.join(" "));
});

test("a fresh root reaches what this machine reaches, by its own bundle, and sees nothing else of this machine", () => {
  const variables = {
    PATH: "/opt/bin",
    HOME: "/home/somebody",
    NODE_EXTRA_CA_CERTS: "/company/ca.pem",
    PIP_CERT: "/company/ca.pem",
    SSL_CERT_DIR: "/company",
    https_proxy: "http://proxy.test:3128",
    npm_config_registry: "https://n.test/",
    npm_config_userconfig: "/home/somebody/.npmrc",
    AWS_SECRET_ACCESS_KEY: "s3cret",
  };
  const found = rootEnvironment(variables);
  const bundle = "/etc/ssl/certs/ca-certificates.crt";
  assert.is(found["NODE_EXTRA_CA_CERTS"], bundle);
  assert.is(found["PIP_CERT"], bundle);
  assert.is(found["https_proxy"], "http://proxy.test:3128");
  assert.is(found["npm_config_registry"], "https://n.test/");
  assert.is(found["HOME"], "/root");
  for (const name of ["SSL_CERT_DIR", "npm_config_userconfig", "AWS_SECRET_ACCESS_KEY"])
    assert.is(found[name], undefined, name);
  assert.not.match(found["PATH"] ?? "", /opt/);
});

test("npm's file of this machine is the root's, but for paths of this machine", () => {
  assert.is(
    npmrcOfRoot("cafile=/company/ca.pem\nregistry=https://n.test/\nprefix=/opt/npm\ncache = /big/cache\n"),
    "cafile=/etc/ssl/certs/ca-certificates.crt\nregistry=https://n.test/\n",
  );
});

test.run();
