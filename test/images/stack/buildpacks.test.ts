// Our buildpacks' rules, by their own programs as the classic contract calls them, on this machine: what each takes for its
// own, what it starts by default, what it refuses and in which words. Compiling for real is test/lab/stack.test.ts.
import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const OURS = fileURLToPath(new URL("../../../images/stack/buildpacks/", import.meta.url));
const root = await mkdtemp(join(tmpdir(), "packs-"));
await chmod(root, 0o755); // the user that the programs run as is not ours
const PACKS = join(root, "buildpacks"); // a copy that is its own to write to, as in the builder
spawnSync("cp", ["--recursive", OURS, PACKS]);
if (process.getuid?.() === 0) spawnSync("chown", ["--recursive", "1000:1000", PACKS]);
test.after(() => rm(root, { recursive: true, force: true }));
let count = 0;

interface Place {
  build: string;
  cache: string;
  env: string;
}

async function place(files: Record<string, string>, env: Record<string, string> = {}): Promise<Place> {
  const folder = join(root, String(++count));
  const at = { build: join(folder, "app"), cache: join(folder, "cache"), env: join(folder, "env") };
  for (const each of Object.values(at)) await mkdir(each, { recursive: true });
  const all = [...Object.entries(files).map(([name, text]) => [join(at.build, name), text] as const)];
  for (const [path, text] of [
    ...all,
    ...Object.entries(env).map(([name, text]) => [join(at.env, name), text] as const),
  ]) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
  return at;
}

function call(pack: string, program: "detect" | "compile" | "release", { build, cache, env }: Place) {
  // As in the builder: nothing of ours in the environment, and never root.
  const argv = [join(PACKS, pack, "bin", program), ...(program === "compile" ? [build, cache, env] : [build])];
  const isRoot = process.getuid?.() === 0;
  if (isRoot) spawnSync("chown", ["--recursive", "1000:1000", dirname(build)]);
  const asUser = isRoot ? ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"] : [];
  const [file, ...rest] = [...asUser, ...argv];
  const environment = {
    PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: build,
    STACK: "flynn-12",
    LANG: "C.UTF-8",
  };
  const { status, stdout, stderr } = spawnSync(file!, rest, {
    env: environment,
    cwd: build,
    encoding: "utf8",
    timeout: 50_000,
  });
  return { status, out: stdout, err: stderr };
}

const fits: [string, string, string][] = [
  ["nodejs", "package.json", "Node.js"],
  ["python", "requirements.txt", "Python"],
  ["python", "pyproject.toml", "Python"],
  ["python", "uv.lock", "Python"],
  ["go", "go.mod", "Go"],
  ["ruby", "Gemfile", "Ruby"],
  ["static", "index.html", "Static site"],
  ["static", "public/index.html", "Static site"],
  ["static", "Staticfile", "Static site"],
  ["procfile", "Procfile", "Procfile"],
];
for (const [pack, file, name] of fits) {
  test(`${pack} takes a source with ${file}, and none without`, async () => {
    const found = call(pack, "detect", await place({ [file]: "" }));
    assert.equal(found, { status: 0, out: `${name}\n`, err: "" });
    assert.is.not(call(pack, "detect", await place({ "other.txt": "" })).status, 0);
  });
}

for (const [what, pack, files, release] of [
  ["a start script", "nodejs", { "package.json": '{"scripts":{"start":"x"}}' }, "  web: npm start"],
  ["server.js alone", "nodejs", { "package.json": "{}", "server.js": "" }, "  web: npm start"],
  ["nothing to start", "nodejs", { "package.json": "{}" }, "  {}"],
  [
    "a module's own program",
    "go",
    { "go.mod": "module code.test/me/hello/v2\n", "bin/hello": "", "bin/other": "" },
    "  web: bin/hello",
  ],
  ["one program", "go", { "go.mod": "module code.test/x\n", "bin/serve": "" }, "  web: bin/serve"],
  ["two programs of other names", "go", { "go.mod": "module x\n", "bin/a": "", "bin/b": "" }, "  {}"],
  ["a program with a strange name", "go", { "go.mod": "module x\n", "bin/a b;c": "" }, "  {}"],
  ["config.ru", "ruby", { Gemfile: "", "config.ru": "" }, "  web: bundle exec rackup config.ru -o 0.0.0.0 -p $PORT"],
  [
    "Rails",
    "ruby",
    { Gemfile: "", "Gemfile.lock": "GEM\n    railties (7.0)\n" },
    "  web: bundle exec rails server -b 0.0.0.0 -p $PORT",
  ],
  ["files", "static", { "index.html": "" }, "  web: /app/.static/start"],
  ["any source", "python", { "requirements.txt": "" }, "default_process_types: {}"],
] as [string, string, Record<string, string>, string][]) {
  test(`${pack} with ${what} has ${release.trim()}`, async () => {
    const at = await place(files);
    spawnSync("chmod", ["--recursive", "a+x", join(at.build, "bin")]);
    const { status, out } = call(pack, "release", at);
    assert.is(status, 0);
    assert.ok(out.split("\n").includes(release), out);
    assert.match(out, /^default_process_types:/);
  });
}

test("nodejs installs from vendored packages, runs the build script with its development packages, then removes those", async () => {
  const app = fileURLToPath(new URL("../../apps/vendored/", import.meta.url));
  const at = await place({}, { VITE_TITLE: "shown", SECRET: "t0p", PLAIN: "asked for", BUILD_ENV: "PLAIN" });
  spawnSync("cp", ["--recursive", `${app}.`, at.build]);
  const manifest = JSON.parse(await readFile(join(at.build, "package.json"), "utf8"));
  manifest.scripts.build = 'node build.js && echo "title=$VITE_TITLE plain=$PLAIN secret=[$SECRET]"';
  await writeFile(join(at.build, "package.json"), JSON.stringify(manifest));
  const { status, out, err } = call("nodejs", "compile", at);
  assert.is(status, 0, out + err);
  assert.match(out, "       title=shown plain=asked for secret=[]\n");
  assert.is(await readFile(join(at.build, "built.txt"), "utf8"), "BUILT\n");
  assert.ok(await stat(join(at.build, "node_modules/greet")));
  assert.is(await stat(join(at.build, "node_modules/shout")).catch(() => "gone"), "gone");
  assert.match(await readFile(join(at.build, ".profile.d/nodejs.sh"), "utf8"), /NODE_ENV=.*production/);
});

test("nodejs starts no package manager for an app that names no package; anything that could matter to one has it started", async () => {
  const lock = (packages: object) =>
    JSON.stringify({ name: "x", lockfileVersion: 3, packages: { "": {}, ...packages } });
  const bare = { "package.json": '{"engines":{"node":">=1"}}', "package-lock.json": lock({}) };
  const { status, out } = call("nodejs", "compile", await place(bare));
  assert.is(status, 0, out);
  assert.match(out, "-----> Installing packages (npm)\n       It needs no packages\n");
  const tried: [string, Record<string, string>][] = [
    ["a package in the lock", { ...bare, "package-lock.json": lock({ "node_modules/x": { version: "1.0.0" } }) }],
    ["a script that npm runs", { ...bare, "package.json": '{"scripts":{"prepare":"echo prepared"}}' }],
    ["settings of npm", { ...bare, ".npmrc": "fund=false\n" }],
    ["no lock", { "package.json": "{}" }],
  ];
  for (const [what, files] of tried)
    assert.not.match(call("nodejs", "compile", await place(files)).out, "It needs no packages", what);
});

for (const [what, files, words] of [
  ["a package.json that is not JSON", { "package.json": "{" }, / ! {5}package\.json is not JSON/],
  ["a package.json that is a list", { "package.json": "[]" }, / ! {5}package\.json holds no object/],
  [
    "engines for another Node.js",
    { "package.json": '{"engines":{"node":"14.x"}}' },
    / ! {5}package\.json asks for Node\.js 14\.x \(engines\.node\); this stack has \d+/,
  ],
  [
    "engines that are no range",
    { "package.json": '{"engines":{"node":"; id"}}' },
    / ! {5}engines\.node in package\.json is no range/,
  ],
  [
    "lock files of two managers",
    { "package.json": "{}", "yarn.lock": "", "package-lock.json": "{}" },
    / ! {5}There are lock files of several package managers: package-lock\.json yarn\.lock\./,
  ],
] as [string, Record<string, string>, RegExp][]) {
  test(`nodejs refuses ${what} in words`, async () => {
    const { status, out } = call("nodejs", "compile", await place(files));
    assert.is(status, 1, out);
    assert.match(out, words);
  });
}

for (const [staticfile, words] of [
  ["root: ../..", /root is a folder of the source/],
  ["root: /etc", /root is a folder of the source/],
  ["root: a;} location / { alias /", /root is a folder of the source/],
  ["root: none", /there is no folder none/],
] as const) {
  test(`static refuses \`${staticfile}\` in words`, async () => {
    const { status, out } = call("static", "compile", await place({ Staticfile: `${staticfile}\n` }));
    assert.is(status, 1);
    assert.match(out, words);
  });
}

test("static serves what its Staticfile says, as a page of one address when asked to", async () => {
  const at = await place({ Staticfile: "root: dist/\r\npushstate: enabled\r\n", "dist/index.html": "" });
  assert.is(call("static", "compile", at).status, 0);
  const text = await readFile(join(at.build, ".static/nginx.conf"), "utf8");
  assert.match(text, "root /app/dist;");
  assert.match(text, "try_files $uri $uri.html $uri/ /index.html;");
  assert.match(text, "error_page 403 =200 /index.html;", "a folder without an index is an unknown address too");
});

test("static has a page before the folder of its name, and of a folder without an index nothing, unless folders are listed", async () => {
  const conf = async (files: Record<string, string>) => {
    const at = await place({ "index.html": "", "join.html": "", "join/x.html": "", ...files });
    assert.is(call("static", "compile", at).status, 0);
    return readFile(join(at.build, ".static/nginx.conf"), "utf8");
  };
  const plain = await conf({ Staticfile: "" });
  assert.match(plain, "try_files $uri $uri.html $uri/ =404;");
  assert.match(plain, "error_page 403 =404 @nothing; location @nothing { return 404; }");
  assert.match(await conf({ "404.html": "" }), "error_page 404 /404.html; error_page 403 =404 /404.html;");
  assert.not.match(await conf({ Staticfile: "directory: visible\n" }), "error_page 403");
});

test("python refuses another Python in words, before it installs anything", async () => {
  for (const [file, text] of [
    [".python-version", "# for us\n2.7.18\n"],
    ["runtime.txt", "python-2.7.18\n"],
  ] as const) {
    const at = await place({ "requirements.txt": "", [file]: text });
    const { status, out } = call("python", "compile", at);
    assert.is(status, 1, out);
    assert.match(out, / ! {5}The app asks for Python 2\.7\.18/);
    assert.is(await stat(join(at.build, ".python")).catch(() => "none"), "none");
  }
});

test("a variable's name that is no name, and a value with every special sign, reach no shell", async () => {
  const value = `a"b'c$(touch ${join(root, "pwned")})\n\`id\`\\`;
  const at = await place(
    {
      "package.json": '{"scripts":{"build":"node -e \'console.log(JSON.stringify(process.env.VITE_X))\'"}}',
      "package-lock.json": '{"name":"x","lockfileVersion":3,"packages":{"":{}}}',
    },
    { VITE_X: value, "VITE_$(id)": "x", "VITE-Y": "x" },
  );
  const { status, out, err } = call("nodejs", "compile", at);
  assert.is(status, 0, out + err);
  assert.match(out, `       ${JSON.stringify(value)}\n`);
  assert.is(await stat(join(root, "pwned")).catch(() => "none"), "none");
});

test.run();
