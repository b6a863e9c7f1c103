import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { installersOf } from "../../../control/builds/installers.ts";
import { makeCertificate } from "../routing/certificates.ts";

const NONE = { buildCa: "", buildProxy: "", buildNoProxy: "", buildEnv: [] };
const installers = suite<{ folder: string }>("installers");

installers.before(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "flynn-installers-"));
});
installers.after(({ folder }) => rm(folder, { recursive: true, force: true }));

installers("a cluster without settings gives builds nothing", () => {
  assert.is(installersOf(NONE), undefined);
});

installers("authorities are read whole, without what else stands in the file", async ({ folder }) => {
  const { certificate } = await makeCertificate({ ca: true });
  await writeFile(join(folder, "ca.pem"), `# the company's\n${certificate}\ntrailing`);
  assert.equal(installersOf({ ...NONE, buildCa: join(folder, "ca.pem") }), { ca: `${certificate.trim()}\n`, env: {} });
});

installers("a proxy is given under both spellings, since programs differ, and a variable goes as it is", () => {
  const settings = {
    ...NONE,
    buildProxy: "http://p:1",
    buildNoProxy: "a,b",
    buildEnv: ["npm_config_registry=https://n.test/?a=b"],
  };
  assert.equal(installersOf(settings)?.env, {
    http_proxy: "http://p:1",
    HTTP_PROXY: "http://p:1",
    https_proxy: "http://p:1",
    HTTPS_PROXY: "http://p:1",
    no_proxy: "a,b",
    NO_PROXY: "a,b",
    npm_config_registry: "https://n.test/?a=b",
  });
});

installers("a file that is missing, empty or damaged stops control at its start, with its name", async ({ folder }) => {
  const damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  for (const [name, text] of [
    ["none.pem", undefined],
    ["empty.pem", ""],
    ["damaged.pem", damaged],
  ] as const) {
    const path = join(folder, name);
    if (text !== undefined) await writeFile(path, text);
    assert.throws(() => installersOf({ ...NONE, buildCa: path }), new RegExp(`${name}.*buildCa`));
  }
});

installers.run();
