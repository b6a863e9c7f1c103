// The line that git starts the CLI with, and what git is told of TLS: on Linux, macOS and Windows, with what is found in paths there.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { saveCluster } from "../../../cli/clusters/clusters.ts";
import { clustersFile } from "../../../cli/clusters/clusters-file.ts";
import { answering, credential } from "../../../cli/git/credential.ts";
import { tlsSettings } from "../../../cli/git/git-settings.ts";
import { credentialHelper, quoted } from "../../../cli/git/own-command.ts";

const CASES: { title: string; line: string; expected: string }[] = [
  {
    title: "a clone starts its own script",
    line: credentialHelper({ script: "/home/an na/flynn/cli/flynn" }, {}, "linux"),
    expected: "!'/home/an na/flynn/cli/flynn' git-credential",
  },
  {
    title: "the packed file is run by the Node that runs now, or by the PATH's where that is gone",
    line: credentialHelper({ file: "/Users/an na/flynn.mjs", node: "/opt/node 22/bin/node" }, {}, "darwin"),
    expected: `!n='/opt/node 22/bin/node'; test -x "$n" || n=node; "$n" '/Users/an na/flynn.mjs' git-credential`,
  },
  {
    title: "on Windows paths are given as Git's own shell reads them",
    line: credentialHelper(
      { file: "C:\\Users\\An Na\\it's\\flynn.mjs", node: "C:\\Program Files\\nodejs\\node.exe" },
      { USERPROFILE: "C:\\Users\\An Na" },
      "win32",
    ),
    expected: `!n='C:/Program Files/nodejs/node.exe'; test -x "$n" || n=node; "$n" 'C:/Users/An Na/it'\\''s/flynn.mjs' git-credential`,
  },
  {
    title: "a folder of clusters that was moved is given along",
    line: credentialHelper({ file: "C:\\f.mjs", node: "C:\\node.exe" }, { FLYNN_HOME: "D:\\my clusters" }, "win32"),
    expected: `!n='C:/node.exe'; test -x "$n" || n=node; FLYNN_HOME='D:/my clusters' "$n" 'C:/f.mjs' git-credential`,
  },
];
for (const { title, line, expected } of CASES) test(title, () => assert.is(line, expected));

test("a shell runs the line: with the Node it names, and with the PATH's where that is gone", async () => {
  for (const node of [process.execPath, "/no such/node"]) {
    const line = credentialHelper({ file: "-p", node }, { FLYNN_HOME: "/a b" }, "linux").slice(1);
    // git adds its own word, and "-p" makes Node print the next one: a name of its environment.
    const program = line.replace(" git-credential", ' "process.env.FLYNN_HOME"');
    const { stdout } = await exec(["sh", "-c", program], { env: { PATH: process.env["PATH"] } });
    assert.is(stdout, "/a b\n", node);
  }
});

test("a word is one word for a shell, whatever is in it", async () => {
  for (const word of ["a b", "it's", "$(id)`id`\\", 'say "x"', "'"])
    assert.is((await exec(["sh", "-c", `printf %s ${quoted(word)}`])).stdout, word);
});

test("git is told of the cluster's authority; on Windows its own TLS takes the file, and asks no revocation list", () => {
  assert.equal(tlsSettings("https://a:7777", "/h/ca/x.pem", "darwin"), [
    ["http.https://a:7777/.sslCAInfo", "/h/ca/x.pem"],
  ]);
  assert.equal(tlsSettings("https://a:7777", "C:\\h\\ca\\x.pem", "win32"), [
    ["http.https://a:7777/.sslCAInfo", "C:/h/ca/x.pem"],
    ["http.https://a:7777/.schannelUseSSLCAInfo", "true"],
    ["http.https://a:7777/.schannelCheckRevoke", "false"],
  ]);
});

test("of clusters at one address the newest one's authority answers; the default goes first among those of it", () => {
  const cluster = (name: string, pin: string, url = "https://a:7777") => ({ name, pin, url, caPem: "", token: name });
  const chosen = (clusters: ReturnType<typeof cluster>[], first?: string) =>
    answering({ clusters, ...(first ? { default: first } : {}) }, "https://a:7777")?.name;
  assert.is(chosen([cluster("old", "1"), cluster("new", "2")], "old"), "new", "the old one is gone: made anew");
  assert.is(chosen([cluster("mine", "1"), cluster("ci", "1")], "mine"), "mine");
  assert.is(chosen([cluster("mine", "1"), cluster("ci", "1")]), "ci");
  assert.is(chosen([cluster("else", "1", "https://b:7777")], "else"), undefined);
});

test("a token is given to exactly the host and port of its cluster, however a URL would read what was asked for", async () => {
  const home = await mkdtemp(join(tmpdir(), "flynn-credential-"));
  try {
    const env = { FLYNN_HOME: home, HOME: home };
    for (const url of ["https://good:7777", "https://plain"])
      await saveCluster(clustersFile(env), {
        name: new URL(url).hostname,
        url,
        pin: "p",
        caPem: "pem",
        token: "secret",
      });
    const answer = (protocol: string, host: string) => credential(`protocol=${protocol}\nhost=${host}\n\n`, env);
    for (const host of ["good:7777", "GOOD:7777", "plain", "plain:443"])
      assert.is(await answer("https", host), "username=flynn\npassword=secret", host);
    for (const host of [
      ...[
        "good:7777/x.evil",
        "good:7777/",
        "good:7777?.evil",
        "good:7777#.evil",
        "good:7777\\.evil",
        "x.evil@good:7777",
      ],
      ...[
        "good",
        "good:443",
        "good:07777",
        "good:7777 ",
        "good:7777\r",
        "\tgood:7777",
        "good:77777",
        "x.good:7777",
        "",
      ],
    ])
      assert.is(await answer("https", host), undefined, JSON.stringify(host));
    for (const protocol of ["http", "https://good:7777/", "https://good:7777?", ""])
      assert.is(await answer(protocol, "good:7777"), undefined, protocol);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});

test.run();
