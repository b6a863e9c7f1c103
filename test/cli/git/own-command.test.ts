// The line that git starts the CLI with, and what git is told of TLS: on Linux, macOS and Windows, with what is found in paths there.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { answering } from "../../../cli/git/credential.ts";
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

test.run();
