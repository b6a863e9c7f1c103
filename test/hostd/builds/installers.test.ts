import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pack } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { CA_ARG, dockerfileArgs, installerFiles, installerVariables } from "../../../hostd/builds/installers.ts";

const CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/** An image that holds these files, read as Docker gives them. */
const imageWith = (files: Readonly<Record<string, string | { link: string }>>) => ({
  async get(_container: string, path: string): Promise<Readable> {
    const found = files[path];
    if (found === undefined) throw new Fault("not-found", path);
    const tar = pack();
    if (typeof found === "string") tar.entry({ name: "file" }, found);
    else tar.entry({ name: "file", type: "symlink", linkname: found.link });
    tar.finalize();
    return Readable.from(await buffer(tar as unknown as NodeJS.ReadableStream), { objectMode: false });
  },
});

test("installers of a build trust the operator's authorities beside their image's own, wherever the image keeps them", async () => {
  const debian = "/etc/ssl/certs/ca-certificates.crt";
  const redHat = "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";
  const table: [Parameters<typeof imageWith>[0], string][] = [
    [{ [debian]: "DEBIAN\n\n" }, `DEBIAN\n${CA}`],
    [{ [debian]: { link: "../somewhere" }, [redHat]: "RED HAT" }, `RED HAT\n${CA}`],
    [{ "/etc/ssl/cert.pem": "BSD" }, `BSD\n${CA}`],
    [{}, CA],
  ];
  for (const [files, bundle] of table) {
    const options = { engine: imageWith(files), container: "c", signal: new AbortController().signal };
    assert.equal(await installerFiles({ ca: CA, env: {} }, options), { own: CA, bundle });
  }
});

test("without authorities of the operator a build gets no file and no variable of them", async () => {
  const options = { engine: imageWith({}), container: "c", signal: new AbortController().signal };
  assert.is(await installerFiles(undefined, options), undefined);
  assert.is(await installerFiles({ env: { https_proxy: "http://p:1" } }, options), undefined);
  assert.equal(installerVariables(undefined, "/in"), {});
  assert.equal(installerVariables({ env: { https_proxy: "http://p:1" } }, "/in"), { https_proxy: "http://p:1" });
});

test("each installer finds the authorities under its own name, and the operator's variables count more", () => {
  const found = installerVariables(
    { ca: CA, env: { PIP_CERT: "/other", npm_config_registry: "https://n.test/" } },
    "/in/a",
  );
  assert.is(found["NODE_EXTRA_CA_CERTS"], "/in/a/own.pem");
  for (const name of ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "npm_config_cafile"])
    assert.is(found[name], "/in/a/bundle.pem", name);
  assert.is(found["PIP_CERT"], "/other");
  assert.is(found["npm_config_registry"], "https://n.test/");
});

test("a Dockerfile gets proxies, and the authorities as text where it declares the argument", () => {
  const settings = { ca: CA, env: { HTTPS_PROXY: "http://p:1", npm_config_registry: "https://n.test/" } };
  assert.equal(dockerfileArgs(settings, { args: { A: "1" }, text: "FROM x\nRUN y\n" }), {
    HTTPS_PROXY: "http://p:1",
    A: "1",
  });
  for (const line of [`ARG ${CA_ARG}`, `arg A ${CA_ARG}=`])
    assert.is(dockerfileArgs(settings, { args: {}, text: `FROM x\n${line}\n` })[CA_ARG], CA, line);
  assert.is(dockerfileArgs(settings, { args: { [CA_ARG]: "own" }, text: `ARG ${CA_ARG}` })[CA_ARG], "own");
  assert.equal(dockerfileArgs(undefined, { args: {}, text: `ARG ${CA_ARG}` }), {});
});

test.run();
