// time limit: 1500 s
// The stack's images, for real: every test app built in the builder and answering on the runner, without any network; and
// what hostile sources, variables and buildpack addresses come to.
import { chmod, cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { until } from "#lib/time.ts";
import { type DockerHost, startDockerHost } from "./docker-host.ts";
import { openLan } from "./network.ts";
import { openScope, type Scope } from "./scope.ts";
import { stackArchives } from "./stack-archives.ts";
import { type BuildOutcome, type RunningApp, type StackDriver, stackDriver } from "./stack-driver.ts";

interface Context {
  scope: Scope;
  host: DockerHost;
  driver: StackDriver;
}

const lab = suite<Context>("stack");
let port = 20_000;

lab.before(async (context) => {
  const archives = await stackArchives({ say: (line) => console.log(line) });
  context.scope = await openScope();
  const lan = await openLan(context.scope);
  context.host = await startDockerHost(context.scope, lan, "h1", "10.77.0.11");
  const startedMs = performance.now();
  context.driver = await stackDriver(context.host, context.scope.folder, archives);
  console.log(`stack loaded in ${Math.round(performance.now() - startedMs)} ms`);
});

lab.after(({ scope }: Partial<Context>) => scope?.close());

/** A source folder of this test's own. */
async function source({ scope }: Context, name: string, files: Record<string, string>): Promise<string> {
  const folder = join(scope.folder, `source-${name}`);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  return folder;
}

const builds = new Map<string, Promise<BuildOutcome>>();

/** A test app as it comes from the builder, built once for every test that looks at it. */
function built({ driver }: Context, app: string): Promise<BuildOutcome> {
  const made = builds.get(app) ?? driver.build({ source: app, app });
  builds.set(app, made);
  return made;
}

const lastWarning = (log: string): string => log.split("\n").findLast((line) => line.startsWith(" !     ")) ?? "";
const names = ({ entries }: BuildOutcome): string[] => entries.map((line) => line.split(/\s+/).slice(5).join(" "));

function succeeded(outcome: BuildOutcome): asserts outcome is BuildOutcome & { slug: string } {
  assert.is(outcome.code, 0, outcome.log);
  assert.ok(outcome.slug);
}

async function serve(
  { driver }: Context,
  outcome: BuildOutcome,
  env: Record<string, string> = {},
): Promise<RunningApp & { get(path: string, ...curl: string[]): Promise<string>; port: number }> {
  succeeded(outcome);
  const at = ++port;
  const app = await driver.run(outcome.slug, [outcome.result.processes!["web"]!], { ...env, PORT: String(at) });
  const get = async (path: string, ...more: string[]) =>
    (await context!.host.exec(["curl", "--silent", "--max-time", "5", ...more, `http://127.0.0.1:${at}${path}`]))
      .stdout;
  const context = current;
  const answers = async () => (await get("/")) !== "";
  await until(answers, { what: "an answer of the app", timeoutMs: 20_000 }).catch(async (error: Error) => {
    throw new Error(`${error.message}; it said: ${await app.log()}`);
  });
  return { ...app, get, port: at };
}
let current: Context | undefined;
lab.before.each((context) => {
  current = context;
});

const served: [
  string,
  { detected: string; body: RegExp; processes?: Record<string, string>; env?: Record<string, string> },
][] = [
  ["node", { detected: "Node.js", body: /^Hej from node \(production\) \/$/m, env: { GREETING: "Hej" } }],
  ["python", { detected: "Python", body: /^Hello from python \/app\/\.python$/m }],
  ["go", { detected: "Go", body: /^Hello from go \/$/m, processes: { web: "bin/hello" } }],
  ["ruby", { detected: "Ruby", body: /^Hello from ruby \(production\)$/m }],
  ["static", { detected: "Static site", body: /Hello from static/ }],
  ["multi", { detected: "Node.js", body: /^Hello from multi \/$/m }],
  ["chat", { detected: "Node.js", body: /^Hello from chat, 0 here$/m, processes: { web: "npm start" } }],
  ["slow-start", { detected: "Node.js", body: /^Hello from slow-start$/m }],
  ["oom", { detected: "Node.js", body: /^Hello from oom$/m }],
  ["flood", { detected: "Node.js", body: /^Hello from flood$/m }],
  ["vendored", { detected: "Node.js", body: /^Hello from vendored BUILT$/m }],
];
for (const [name, { detected, body, processes, env }] of served) {
  lab(`the app ${name} builds without a network, answers on the runner and ends at SIGTERM`, async (context) => {
    const startedMs = performance.now();
    const outcome = await built(context, name);
    succeeded(outcome);
    console.log(`${name}: built in ${Math.round(performance.now() - startedMs)} ms`);
    assert.is(outcome.result.detected, detected);
    if (processes) assert.equal(outcome.result.processes, processes);
    for (const line of outcome.log.split("\n").filter(Boolean)) assert.match(line, /^(-----> | {7}| ! {5})/, line);
    for (const entry of outcome.entries) assert.match(entry, / 1000\/1000 .* app\//, entry);
    const app = await serve(context, outcome, { ...env, SLOW_MS: "500" });
    assert.match(await app.get("/"), body);
    const stopMs = performance.now();
    await app.stop();
    assert.ok(performance.now() - stopMs < 8_000, "it ended by itself, not by SIGKILL");
  });
}

lab("the app crash builds, and ends with its own code and last words", async (context) => {
  const outcome = await built(context, "crash");
  succeeded(outcome);
  const app = await context.driver.run(outcome.slug, ["npm start"], { PORT: "1" });
  assert.is(await app.exitCode(), 3);
  assert.match(await app.log(), "fatal: no database at db:5432");
});

lab("the app multi has its worker and its release phase beside web", async (context) => {
  const outcome = await built(context, "multi");
  succeeded(outcome);
  const processes = { release: "node release.js", web: "node web.js", worker: "node worker.js" };
  assert.equal(outcome.result.processes, processes);
  const release = await context.driver.run(outcome.slug, [processes.release]);
  assert.is(await release.exitCode(), 0);
  assert.match(await release.log(), "release: done");
  const failing = await context.driver.run(outcome.slug, [processes.release], { FAIL_RELEASE: "no" });
  assert.is(await failing.exitCode(), 1);
});

lab("the app chat passes what one says on to all, over WebSocket", async (context) => {
  const app = await serve(context, await built(context, "chat"));
  const script = `
    const [a, b] = await Promise.all([0, 1].map(() => new Promise((resolve, reject) => {
      const socket = new WebSocket("ws://127.0.0.1:${app.port}/");
      socket.onopen = () => resolve(socket);
      socket.onerror = () => reject(new Error("no socket"));
    })));
    b.onmessage = ({ data }) => { console.log(data); process.exit(0); };
    a.send("hello b");
    setTimeout(() => process.exit(1), 5000);`;
  const { stdout } = await context.host.exec([process.execPath, "--input-type=module", "--eval", script]);
  assert.is(stdout, "hello b\n");
  await app.stop();
});

lab(
  "a static site has types, ranges, folders, a page for what is missing, and hides what is not the site's",
  async (context) => {
    const app = await serve(context, await built(context, "static"));
    assert.match(await app.get("/style.css", "--include"), /content-type: text\/css/i);
    assert.is(await app.get("/style.css", "--range", "0-0"), "p");
    assert.match(await app.get("/style.css", "--include", "--range", "0-0"), /^HTTP\/1\.1 206/);
    assert.match(await app.get("/docs", "--include"), /^HTTP\/1\.1 301[\s\S]*location: \/docs\/\r/i);
    assert.match(await app.get("/docs/"), "The docs of static");
    assert.match(
      await app.get("/docs", "--include"),
      /^HTTP\/1\.1 301[\s\S]*[Ll]ocation: \/docs\//,
      "a folder's links are relative",
    );
    assert.match(await app.get("/join", "--include"), /^HTTP\/1\.1 200[\s\S]*The page beside the folder/);
    assert.match(
      await app.get("/join/", "--include"),
      /^HTTP\/1\.1 404[\s\S]*Nothing here, says static/,
      "a folder without an index",
    );
    assert.match(await app.get("/no/such", "--include"), /^HTTP\/1\.1 404[\s\S]*Nothing here, says static/);
    assert.match(await app.get("/../Staticfile", "--include", "--path-as-is"), /^HTTP\/1\.1 400/);
    await app.stop();
    const bare = await source(context, "bare", {
      "index.html": "top",
      Staticfile: "pushstate: enabled\r\n",
      ".env": "SECRET=1",
      Procfile: "",
    });
    const site = await serve(context, await context.driver.build({ source: bare }));
    assert.is(await site.get("/any/where"), "top");
    for (const path of ["/.env", "/Staticfile", "/Procfile", "/.static/nginx.conf"])
      assert.match(await site.get(path, "--include"), /^HTTP\/1\.1 404/, path);
    await site.stop();
  },
);

lab(
  "a command of several words is a program with its arguments, one word is a command line, both after .profile.d",
  async (context) => {
    const folder = await source(context, "start", {
      Procfile: "web: true\n",
      ".profile.d/b.sh": 'export ORDER="$ORDER b"; set -- changed\n',
      ".profile.d/a.sh": 'export ORDER="$ORDER a"; cd /tmp\n',
      ".profile": 'export ORDER="$ORDER profile"\n',
    });
    const outcome = await context.driver.build({ source: folder });
    succeeded(outcome);
    const said = async (command: string[], env?: Record<string, string>) => {
      const app = await context.driver.run(outcome.slug!, command, env);
      const code = await app.exitCode();
      return { code, log: await app.log() };
    };
    assert.equal(await said(['echo "$ORDER|$HOME|$PWD|$(id -u)" && exit 7']), {
      code: 7,
      log: " a b profile|/app|/app|1000\n",
    });
    assert.equal(await said(["printf", "%s;", "a b", "$HOME", "*"]), { code: 0, log: "a b;$HOME;*;" });
    assert.equal(await said(["echo $VALUE"], { VALUE: "$(id); `id`" }), { code: 0, log: "$(id); `id`\n" });
  },
);

/** A classic buildpack that says what it was given; `run` in the app's folder of the lab's web server. */
const spy = {
  "bin/detect": '#!/bin/sh\n[ -f "$1/spied" ] && echo "Spied on"\n',
  "bin/compile": `#!/bin/bash
echo "-----> args $1 $2 $3 cwd $PWD uid $(id -u) git=\${GIT_DIR-unset}"
echo "       stack $STACK version $SOURCE_VERSION request \${REQUEST_ID:+set} home $HOME app $APP_DIR curl $CURL_CONNECT_TIMEOUT $CURL_TIMEOUT"
env | sort | sed 's/^/       env /'
tr '\\0' '\\n' < /proc/1/environ | sed 's/^/       init /'
for file in "$3"/*; do echo "       file \${file##*/} $(od -An -c "$file" | tr -d ' \\n')"; done
[ -d "$1/.git" ] && echo "       .git is there"
echo "       cache has: $(cat "$2/count" 2>/dev/null || echo nothing)"
echo x >> "$2/count"
echo "a warning to stderr" >&2
printf 'export FROM_SPY="set by spy"\\nexport PATH="/app/spy-bin:$PATH"\\n' > "$(dirname "$0")/../export"
mkdir -p "$1/.profile.d" && echo 'export SPIED=yes' > "$1/.profile.d/spy.sh"
[ ! -f "$1/fail" ] || exit 42
`,
  "bin/release":
    "#!/bin/sh\nprintf -- '---\\naddons: []\\nconfig_vars: {A: b}\\ndefault_process_types:\\n  web: ./spied-web\\n  worker: echo spy\\n'\n",
  "bin/report": '#!/bin/sh\necho "spied: true"\n',
};
/** Makes a folder of the repository the whole app, as buildpacks for monorepos do, and needs a secret at home meanwhile. */
const subfolder = {
  "bin/detect": "#!/bin/sh\necho Subfolder\n",
  "bin/compile": `#!/bin/bash
set -e
stage=$(mktemp -d)
mv "$1/$(cat "$3/SUBFOLDER")" "$stage/only"
rm -rf "$1"
mv "$stage/only" "$1"
echo "machine code.test password t0ken" > ~/.netrc
mkdir "$1/tools"
printf '#!/bin/sh\\necho tool of the subfolder\\n' > "$1/tools/tool"
chmod +x "$1/tools/tool"
echo "export PATH=\\"$1/tools:\\$PATH\\"" > "$(dirname "$0")/../export"
`,
};
const afterwards = {
  "bin/detect": "#!/bin/sh\necho After\n",
  "bin/compile": '#!/bin/sh\necho "-----> after: FROM_SPY=$FROM_SPY PATH=$PATH"\n',
};

/** Serves buildpacks over HTTP on the lab host: archives, and repositories for git's plain HTTP. */
async function serveBuildpacks(context: Context): Promise<string> {
  const { host, scope } = context;
  const web = join(scope.folder, "web");
  await mkdir(web, { recursive: true });
  for (const [name, files] of Object.entries({ spy, subfolder, after: afterwards })) {
    const folder = await source(context, `pack-${name}`, files);
    for (const file of Object.keys(files)) await chmod(join(folder, file), 0o755);
    await exec(["tar", "--create", "--gzip", `--file=${join(web, `${name}.tgz`)}`, `--directory=${folder}`, "."]);
    const wrapped = join(scope.folder, "wrapped", `${name}-main`);
    await cp(folder, wrapped, { recursive: true });
    await exec([
      "tar",
      "--create",
      `--file=${join(web, `${name}-wrapped.tar`)}`,
      `--directory=${join(wrapped, "..")}`,
      `${name}-main`,
    ]);
    const git = (...argv: string[]) =>
      exec(["git", "-c", "user.name=t", "-c", "user.email=t@example.test", ...argv], { cwd: folder, env: process.env });
    await git("init", "--quiet", "--initial-branch=main");
    await git("add", ".");
    await git("commit", "--quiet", "--message=one");
    await git("tag", "v1");
    await git("commit", "--quiet", "--allow-empty", "--message=two");
    await git("clone", "--quiet", "--bare", ".", join(web, `${name}.git`));
    await exec(["git", "update-server-info"], { cwd: join(web, `${name}.git`), env: process.env });
  }
  await host.spawn(["busybox", "httpd", "-f", "-p", "10.77.0.11:8099", "-h", web]);
  return "http://10.77.0.11:8099";
}
let packs = "";

lab(
  "a classic buildpack from an archive gets exactly the contract, and no variable of the app but as a file",
  async (context) => {
    packs = await serveBuildpacks(context);
    const folder = await source(context, "spied", {
      spied: "",
      "spied-web": "#!/bin/sh\necho $SPIED\n",
      ".git/config": "[x]\n",
    });
    const env = {
      BUILDPACK_URL: `${packs}/spy.tgz`,
      SECRET_TOKEN: "t0p-s3cret",
      MULTI: "line 1\nline 2\n",
      QUOTES: `"'$(id)\``,
      LD_PRELOAD: "/app/evil.so",
      BASH_ENV: "/app/evil.sh",
      NODE_OPTIONS: "--require=/app/evil.js",
      PATH: "/app/evil",
      GIT_DIR: "/app/evil",
    };
    const outcome = await context.driver.build({ source: folder, env, network: "host", cache: "spied" });
    succeeded(outcome);
    const { log } = outcome;
    assert.match(log, /-----> args (\/tmp\/build-\w+\/app) \/cache\/work \/in\/env cwd \1 uid 1000 git=unset/);
    assert.match(log, /stack flynn-12 version c0ffee0+ request set home \/app app \/app curl 30 180/);
    assert.match(log, "a warning to stderr");
    assert.match(log, "file MULTI line1\\nline2\\n");
    for (const line of log.split("\n").filter((each) => /^ {7}(env|init) /.test(each))) {
      assert.not.match(line, /t0p-s3cret|evil|line 1|\$\(id\)/, line);
    }
    assert.not.match(log, ".git is there");
    assert.equal(outcome.result, {
      detected: "Spied on",
      processes: { web: "./spied-web", worker: "echo spy" },
      report: { [`${packs}/spy.tgz`]: "spied: true\n" },
    } as never);
    assert.not.ok(names(outcome).some((name) => /^app\/(\.git|spied-bin)/.test(name)));
    const app = await context.driver.run(outcome.slug, ["echo $SPIED"]);
    await app.exitCode();
    assert.is(await app.log(), "yes\n");
  },
);

lab("the cache is the app's own, and a failed build leaves it as it was", async (context) => {
  const build = async (cache: string, files: Record<string, string> = {}) => {
    const folder = await source(context, `cached-${cache}-${Object.keys(files).length}`, { spied: "", ...files });
    return await context.driver.build({
      source: folder,
      env: { BUILDPACK_URL: `${packs}/spy.tgz` },
      network: "host",
      cache,
    });
  };
  assert.match((await build("one")).log, "cache has: nothing");
  assert.match((await build("one")).log, "cache has: x\n");
  const failed = await build("one", { fail: "" });
  assert.is(failed.code, 1);
  assert.is(failed.result.reason, `failed to compile Spied on app: bin/compile of ${packs}/spy.tgz ended with code 42`);
  assert.is(lastWarning(failed.log), ` !     ${failed.result.reason}`);
  assert.match((await build("one")).log, "cache has: x\nx\n");
  assert.match((await build("two")).log, "cache has: nothing");
});

lab(
  ".buildpacks runs each in order with what the one before exported; git refs and wrapped archives are taken",
  async (context) => {
    const lines = ["# first", `${packs}/spy.git#v1\r`, "", `${packs}/after-wrapped.tar`, "procfile # ours"];
    const folder = await source(context, "several", {
      spied: "",
      Procfile: "web: echo hi\n",
      ".buildpacks": lines.join("\n"),
    });
    const outcome = await context.driver.build({ source: folder, network: "host" });
    succeeded(outcome);
    assert.match(outcome.log, /-----> after: FROM_SPY=set by spy PATH=\/app\/spy-bin:/);
    assert.is(outcome.result.detected, "Spied on, After, Procfile");
    assert.equal(outcome.result.processes, { web: "echo hi" }, "only the last buildpack's default types count");
  },
);

lab(
  "another's buildpack may put a new folder in the app's place, is asked before those after it, and keeps its secrets at home",
  async (context) => {
    const folder = await source(context, "monorepo", {
      "README.md": "all of them",
      "apps/one/package.json": JSON.stringify({ scripts: { build: "tool > built; cat ~/.netrc > /dev/null" } }),
      "apps/one/Procfile": "web: cat built\n",
      "apps/one/.env.example": "",
      ".buildpacks": `${packs}/subfolder.tgz\nnodejs\n`,
    });
    const env = { SUBFOLDER: "apps/one" };
    const outcome = await context.driver.build({ source: folder, env, network: "host" });
    succeeded(outcome);
    assert.is(outcome.result.detected, "Subfolder, Node.js");
    const files = names(outcome).filter((name) => !name.endsWith("/") && !name.startsWith("app/node_modules/"));
    assert.equal(files.sort(), [
      "app/.env.example",
      "app/.profile.d/nodejs.sh",
      "app/Procfile",
      "app/built",
      "app/package.json",
      "app/tools/tool",
    ]);
    const app = await context.driver.run(outcome.slug, [outcome.result.processes!["web"]!]);
    await app.exitCode();
    assert.is(await app.log(), "tool of the subfolder\n", "what it exported led there while ours built");
  },
);

for (const [address, why] of [
  ["ext::sh -c touch% /tmp/x", /plain characters/],
  ["ext::sh", /name a program to run/],
  ["file:///etc", /https/],
  ["--upload-pack=touch", /begin with -/],
  ["git@code.test:x/y.git", /SSH key/],
  ["ssh://git@code.test/x", /SSH key/],
  ["https://code.test/x.git#--upload-pack=x", /branch, a tag or a commit/],
  ["perl", /has no buildpack perl/],
] as const) {
  lab(`the buildpack address ${address} is refused in words`, async (context) => {
    const folder = await source(context, "plain", { Procfile: "web: true\n" });
    const outcome = await context.driver.build({ source: folder, env: { BUILDPACK_URL: address }, network: "host" });
    assert.is(outcome.code, 1);
    assert.match(outcome.result.reason ?? "", why);
    assert.is(lastWarning(outcome.log), ` !     ${outcome.result.reason}`);
  });
}

lab("a buildpack that cannot be fetched ends the build in words, without the token in its address", async (context) => {
  const folder = await source(context, "plain", { Procfile: "web: true\n" });
  for (const path of ["none.git", "none.tgz"]) {
    const address = `${packs.replace("http://", "http://me:t0ken@")}/${path}`;
    const outcome = await context.driver.build({ source: folder, env: { BUILDPACK_URL: address }, network: "host" });
    assert.is(outcome.code, 1);
    assert.match(outcome.result.reason ?? "", /could not be fetched$/);
    assert.not.match(outcome.log + JSON.stringify(outcome.result), "t0ken");
  }
});

lab(".slugignore leaves out what it names and nothing else, and never follows a link", async (context) => {
  const folder = await source(context, "ignored", {
    Procfile: "\ufeffweb: echo hi\r\n",
    ".slugignore": "*.psd\n/docs\nbuild/\n# comment\n!kept\n",
    "a.psd": "",
    "deep/b.psd": "",
    "docs/x": "",
    "deep/docs/x": "",
    "deep/build/x": "",
  });
  await exec(["ln", "--symbolic", "--force", "/etc", join(folder, "build")]);
  const outcome = await context.driver.build({ source: folder });
  succeeded(outcome);
  const kept = names(outcome)
    .filter((name) => !name.endsWith("/"))
    .sort();
  assert.equal(kept, ["app/.slugignore", "app/Procfile", "app/build -> /etc", "app/deep/docs/x"]);
  assert.match(outcome.log, /byte order mark/);
  assert.match(outcome.log, /Windows line ends/);
  assert.equal(outcome.result.processes, { web: "echo hi" });
});

for (const [what, procfile, reason] of [
  ["twice the same type", "web: a\nweb: b\n", /line 2: process type web is there twice/],
  ["a type without a command", "web: a\nworker:\n", /line 2: process type worker has no command/],
  ["no type at all on a line", "$(id) > /tmp/x\n", /line 1/],
] as const) {
  lab(`a Procfile with ${what} fails with the line's number`, async (context) => {
    const folder = await source(context, `procfile-${procfile.length}`, { Procfile: procfile });
    const outcome = await context.driver.build({ source: folder });
    assert.is(outcome.code, 1);
    assert.match(outcome.result.reason ?? "", reason);
  });
}

lab("names and commands with shell in them run nowhere but in the app", async (context) => {
  const folder = await source(context, "hostile", { Procfile: "web: echo `touch /tmp/pwned` $(id); echo done\n" });
  const outcome = await context.driver.build({ source: folder, app: "$(touch /tmp/pwned);`id`" });
  succeeded(outcome);
  assert.is(outcome.result.processes!["web"], "echo `touch /tmp/pwned` $(id); echo done");
  assert.not.match(outcome.log, "uid=");
});

lab(
  "an app that no buildpack knows ends with what was looked for; Node.js of another version in words",
  async (context) => {
    const unknown = await context.driver.build({ source: await source(context, "unknown", { "main.pl": "" }) });
    assert.is(unknown.code, 1);
    assert.match(unknown.log, /package\.json/);
    assert.is(unknown.result.reason, "no buildpack knows what this app is made of");
    const manifest = JSON.stringify({ engines: { node: "14.x" } });
    const old = await context.driver.build({ source: await source(context, "old", { "package.json": manifest }) });
    assert.is(old.code, 1);
    assert.match(old.log, /asks for Node\.js 14\.x \(engines\.node\); this stack has 24\./);
  },
);

lab("the app docker builds on the runner with its argument, without what .dockerignore names", async (context) => {
  const { driver, host } = context;
  await driver.docker("tag", "flynn/runner:flynn-12", "flynn/runner:latest");
  const folder = fileURLToPath(new URL("../apps/docker/", import.meta.url));
  await driver.docker("build", "--quiet", "--network=none", "--build-arg=GREETING=Hej", "--tag=lab/docker", folder);
  const at = ++port;
  await driver.docker("run", "--detach", "--name=docker", "--init", "--network=host", `--env=PORT=${at}`, "lab/docker");
  const get = async () => (await host.exec(["curl", "--silent", `http://127.0.0.1:${at}/`])).stdout;
  assert.is(await until(get, { what: "an answer of the app docker", timeoutMs: 20_000 }), "Hej from docker /\n");
  assert.equal((await driver.docker("exec", "docker", "ls", "-A", "/srv")).split("\n").sort(), [
    ".dockerignore",
    "Dockerfile",
    "server.js",
  ]);
  await driver.docker("rm", "--force", "docker");
});

lab("native modules and C extensions find their headers and compilers in the builder", async (context) => {
  const { docker } = context.driver;
  const inBuilder = (...argv: string[]) => docker("run", "--rm", "--network=none", "flynn/builder:flynn-12", ...argv);
  assert.match(await inBuilder("ls", "/usr/include/node/node_api.h", "/usr/include/python3.11/Python.h"), "node_api.h");
  assert.match(await inBuilder("gcc", "--version"), "gcc");
  assert.is(await inBuilder("pg_config", "--version").then((text) => /^PostgreSQL \d+/.test(text)), true);
  for (const program of ["git", "go", "uv", "bundle", "pnpm", "yarn", "yarn-berry", "npm"])
    assert.match(await inBuilder(program, program === "go" ? "version" : "--version"), /\d/, program);
  for (const program of ["node", "npm", "yarn", "pnpm", "python", "ruby", "bundle", "curl", "nginx"])
    assert.match(
      await docker("run", "--rm", "--network=none", "flynn/runner:flynn-12", "sh", "-c", `command -v ${program}`),
      program,
    );
});

lab(
  "a first Go build finds the standard library compiled, and leaves no copy of it in the app's cache",
  async (context) => {
    const { build, docker } = context.driver;
    const startedMs = performance.now();
    succeeded(await build({ source: "go", app: "go", cache: "go-std" }));
    console.log(`go, without a cache: built in ${Math.round(performance.now() - startedMs)} ms`);
    const look = "find /cache/kept/go-build -type l | wc -l; du -sk /cache/kept/go-build | cut -f1";
    const volume = "--volume=lab-cache-go-std:/cache";
    const [links, sizeKiB] = (
      await docker("run", "--rm", "--network=none", volume, "flynn/builder:flynn-12", "sh", "-c", look)
    )
      .split("\n")
      .map(Number);
    assert.is(links, 0);
    assert.ok(sizeKiB! > 0 && sizeKiB! < 10_000, `${sizeKiB} KiB: the standard library alone has tens of MiB`);
  },
);

lab(
  "builder and runner share the runner's layers, and hold no list or scratch file of the machine that made them",
  async (context) => {
    const { docker } = context.driver;
    const layers = async (image: string) =>
      JSON.parse(await docker("inspect", "--format={{json .RootFS.Layers}}", image)) as string[];
    const runner = await layers("flynn/runner:flynn-12");
    assert.equal((await layers("flynn/builder:flynn-12")).slice(0, runner.length), runner);
    const archives = "find /etc/apt/sources.list /etc/apt/sources.list.d -type f -exec grep -hv '^#' {} + 2>/dev/null";
    const look = `${archives}; find /var/lib/apt/lists /tmp -type f 2>/dev/null; true`;
    const asRoot = ["run", "--rm", "--network=none", "--user=root", "--entrypoint=/bin/sh"];
    for (const image of ["runner", "builder"])
      assert.is(await docker(...asRoot, `flynn/${image}:flynn-12`, "-c", look), "");
  },
);

lab.run();
