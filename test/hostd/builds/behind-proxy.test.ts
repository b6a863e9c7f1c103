// From what control hands out to what npm fetches: hostd's own input for a builder, the builder's own program and Node.js buildpack, a
// real npm, and a registry on loopback that only the operator's authority vouches for.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { buffer } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BuildSpec } from "#api/builds.ts";
import { ExecError, exec } from "#lib/exec.ts";
import { builderInput } from "../../../hostd/builds/builder-input.ts";
import { type PackageRegistry, startPackageRegistry } from "../../package-registry.ts";

const IMAGES = fileURLToPath(new URL("../../../images/stack", import.meta.url));
const MANIFEST = { name: "behind", version: "1.0.0", private: true, dependencies: { greeting: "1.0.0" } };

interface Behind {
  folder: string;
  registry: PackageRegistry;
}
const behind = suite<Behind>("a build behind a proxy that opens TLS");

behind.before(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), "flynn-behind-"));
  context.registry = await startPackageRegistry({ folder: join(context.folder, "tls"), address: "127.0.0.1" });
});

behind.after(async ({ folder, registry }) => {
  await registry.close();
  await rm(folder, { recursive: true, force: true });
});

async function built({ folder }: Behind, installers: BuildSpec["installers"]): Promise<{ log: string; root: string }> {
  const root = await mkdtemp(join(folder, "root-"));
  const source = join(root, "src");
  await mkdir(source);
  await writeFile(join(source, "package.json"), JSON.stringify(MANIFEST));
  const sourceFile = join(folder, "source.tar");
  await exec(["tar", "--create", `--file=${sourceFile}`, `--directory=${source}`, "."]);
  const sizeBytes = (await readFile(sourceFile)).length;
  const spec = {
    app: "behind",
    id: "b1",
    buildpacks: ["nodejs"],
    env: {},
    source: { sha256: "", sizeBytes },
    installers,
  };
  const own = installers?.ca;
  const files = own === undefined ? undefined : { own, bundle: own };
  const input = await buffer(builderInput(spec, "flynn-12", sourceFile, files));
  await exec(["tar", "--extract", "--no-same-owner", `--directory=${root}`], { input });
  // Below a folder here, at the root in a container.
  const description = join(root, "in/build.json");
  await writeFile(description, (await readFile(description, "utf8")).replaceAll('"/in/', `"${root}/in/`));
  const argv = [
    process.execPath,
    join(IMAGES, "program/main.ts"),
    "--root",
    root,
    "--buildpacks",
    join(IMAGES, "buildpacks"),
  ];
  const env = { PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`, NO_COLOR: "1" };
  const { stdout } = await exec(argv, { env, timeoutMs: 90_000 }).catch((error: unknown) => {
    if (error instanceof ExecError) return error;
    throw error;
  });
  return { log: stdout, root };
}

const settings = ({ registry }: Behind) => ({ npm_config_registry: registry.url, npm_config_fetch_retries: "0" });

behind("with the operator's authority the packages come, and the slug knows nothing of it", async (context) => {
  const ca = await readFile(context.registry.caFile, "utf8");
  const { log, root } = await built(context, { ca, env: settings(context) });
  assert.match(log, /^ {7}Done: /m, log);
  const { stdout } = await exec(["tar", "--extract", "--to-stdout", `--file=${join(root, "out/slug.tar.gz")}`]);
  assert.match(stdout, /hello from the registry behind the proxy/);
  assert.not.match(stdout, /BEGIN CERTIFICATE|authorities/);
});

behind("without it npm refuses the registry, and the push says why", async (context) => {
  const { log } = await built(context, { env: settings(context) });
  assert.match(log, /CERT|certificate/i);
  assert.match(log, /^ ! {5}.*npm install|npm/m);
  assert.not.match(log, /^ {7}Done: /m);
});

behind.run();
