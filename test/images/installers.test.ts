import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite, test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import {
  aptSettings,
  certificatesOf,
  installerVariables,
  machineInstallers,
  pipSettings,
} from "../../images/installers.ts";
import { type PackageRegistry, startPackageRegistry } from "../package-registry.ts";

test("an installer takes this machine's authorities, proxies and registries, and nothing else of its environment", () => {
  const wanted = {
    NODE_EXTRA_CA_CERTS: "/a",
    SSL_CERT_FILE: "/a",
    SSL_CERT_DIR: "/d",
    PIP_CERT: "/a",
    PIP_INDEX_URL: "https://p.test/simple",
    REQUESTS_CA_BUNDLE: "/a",
    CURL_CA_BUNDLE: "/a",
    GIT_SSL_CAINFO: "/a",
    npm_config_cafile: "/a",
    NPM_CONFIG_REGISTRY: "https://n.test/",
    "npm_config_@own:registry": "https://o.test/",
    npm_config_userconfig: "/root/.npmrc",
    npm_config_globalconfig: "/usr/etc/npmrc",
    npm_config_https_proxy: "http://proxy.test:3128",
    GOPROXY: "https://g.test",
    GONOSUMDB: "*",
    GOFLAGS: "-mod=mod",
    BUNDLE_SSL_CA_CERT: "/a",
    HTTPS_PROXY: "http://proxy.test:3128",
    http_proxy: "http://proxy.test:3128",
    no_proxy: "localhost",
    HOME: "/root",
  };
  const others = {
    AWS_SECRET_ACCESS_KEY: "s3cret",
    npm_config_prefix: "/x",
    npm_lifecycle_event: "test",
    LD_PRELOAD: "x",
  };
  assert.equal(installerVariables({ ...wanted, ...others, PATH: "/tree/node_modules/.bin:/usr/bin" }), {
    ...wanted,
    PATH: "/usr/bin:/tree/node_modules/.bin",
    LC_ALL: "C.UTF-8",
  });
});

test("pip's files are read as pip reads them", () => {
  const text = `# company
[global]
cert = /etc/company.pem
index-url=https://p.test/simple
trusted-host = a.test
    b.test
[install]
extra-index-url: https://q.test/simple
[freeze]
timeout = 10
[global]
no-color = true
`;
  assert.equal(pipSettings(text), {
    PIP_CERT: "/etc/company.pem",
    PIP_INDEX_URL: "https://p.test/simple",
    PIP_TRUSTED_HOST: "a.test b.test",
    PIP_EXTRA_INDEX_URL: "https://q.test/simple",
  });
});

test("apt's proxies and authorities are taken, of one host too; the rest of its settings is not", () => {
  const dump = `APT::Architecture "amd64";
Acquire::http::Proxy "http://proxy.test:3128";
Acquire::http::Proxy::archive.test "DIRECT";
Acquire::https::archive.test::CaInfo "/etc/company.pem";
Acquire::https::Verify-Peer "true";
Acquire::http::Proxy "";
DPkg::Post-Invoke:: "rm -rf /";
`;
  assert.equal(aptSettings(dump), [
    "Acquire::http::Proxy=http://proxy.test:3128",
    "Acquire::https::archive.test::CaInfo=/etc/company.pem",
    "Acquire::https::Verify-Peer=true",
  ]);
});

test("of all files together each certificate is trusted once", () => {
  const one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
  const two = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----";
  assert.is(certificatesOf([`# first\n${one}\n`, `${two}\n${one}`, ""]), `${one}\n${two}\n`);
});

const SYSTEM = "/etc/ssl/certs/ca-certificates.crt";

interface Behind {
  folder: string;
  registry: PackageRegistry;
}
const behind = suite<Behind>("behind a proxy that opens TLS");

behind.before(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "flynn-installers-"));
  context.registry = await startPackageRegistry({ folder: join(context.folder, "tls"), address: "127.0.0.1" });
});

behind.after(async ({ folder, registry }) => {
  await registry.close();
  await rm(folder, { recursive: true, force: true });
});

/** npm installs with what a build takes from a machine of these settings. */
async function installed({ folder, registry }: Behind, settings: NodeJS.ProcessEnv, npmrc = ""): Promise<string> {
  const own = await mkdtemp(join(folder, "machine-"));
  await writeFile(join(own, ".npmrc"), npmrc);
  await mkdir(join(own, "app"));
  await writeFile(join(own, "app/package.json"), JSON.stringify({ dependencies: { greeting: "1.0.0" } }));
  const variables = {
    PATH: process.env["PATH"],
    HOME: own,
    npm_config_userconfig: join(own, ".npmrc"),
    npm_config_globalconfig: join(own, "none"),
    npm_config_registry: registry.url,
    npm_config_fetch_retries: "0",
    ...settings,
  };
  const signal = AbortSignal.timeout(60_000);
  const { environment } = await machineInstallers({ variables, directory: own, signal });
  const argv = ["npm", "install", "--no-audit", "--no-fund", `--cache=${join(own, "cache")}`];
  await exec(argv, { cwd: join(own, "app"), env: environment, signal });
  return await readFile(join(own, "app/node_modules/greeting/index.js"), "utf8");
}

for (const name of ["SSL_CERT_FILE", "npm_config_cafile"])
  behind(`npm installs where the machine says its authority by ${name}`, async (context) => {
    assert.match(await installed(context, { [name]: context.registry.caFile }), /behind the proxy/);
  });

behind("npm installs where the machine keeps its authority in npm's own file", async (context) => {
  assert.match(await installed(context, {}, `cafile=${context.registry.caFile}\n`), /behind the proxy/);
});

for (const [where, settings, npmrc] of [
  ["in its own file", {}, `cafile=${SYSTEM}\n`],
  ["in its environment", { NPM_CONFIG_CAFILE: SYSTEM }, ""],
] as const)
  behind(
    `npm that knows other authorities ${where} installs where another setting names the right one`,
    async (context) => {
      const own = { ...settings, NODE_EXTRA_CA_CERTS: context.registry.caFile };
      assert.match(await installed(context, own, npmrc), /behind the proxy/);
    },
  );

behind("npm refuses a registry of an authority that the machine does not trust", async (context) => {
  const refused = await installed(context, {}).then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(refused, /npm install/);
});

behind("a setting that names a missing file is said by its name, with what to do", async ({ folder }) => {
  const variables = { ...process.env, CURL_CA_BUNDLE: "/nowhere/company.pem" };
  const signal = AbortSignal.timeout(60_000);
  const said = await machineInstallers({ variables, directory: folder, signal }).then(
    () => "",
    (error: Error) => error.message,
  );
  assert.match(said, /^CURL_CA_BUNDLE names \/nowhere\/company\.pem, which is not there: correct it or unset it/);
});

test.run();
behind.run();
