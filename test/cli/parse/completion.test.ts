// Completion scripts: sound for their shell, and bash's is tried for real with a `flynn` that only knows names.
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { commands } from "../../../cli/commands.ts";
import { completionScript, SHELLS } from "../../../cli/parse/completion.ts";
import { helpText } from "../../../cli/parse/help.ts";
import { invoke } from "../invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-completion-"));
const bashFile = join(directory, "flynn.bash");
await writeFile(bashFile, completionScript("bash", commands));
const fake = join(directory, "flynn");
await writeFile(
  fake,
  '#!/bin/sh\n[ "$1" = complete ] && case "$2" in apps) echo hello; echo other ;; machines) echo m1 ;; esac\n',
);
await chmod(fake, 0o755);

/** What bash offers after these words; the last one is being typed. */
async function offered(...words: string[]): Promise<string[]> {
  const script = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _flynn; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const env = { PATH: `${directory}:${process.env["PATH"]}` };
  const { stdout } = await exec(["bash", "-c", script, "bash", bashFile, "flynn", ...words], { env });
  return stdout.split("\n").filter(Boolean);
}

test("bash's script has no syntax error", async () => {
  await exec(["bash", "-n", bashFile]);
});

test("bash offers first words, the words after them, flags, and names", async () => {
  assert.equal(await offered("mach"), ["machine"]);
  assert.equal((await offered("route", "")).sort(), ["add", "list", "remove", "update"]);
  assert.equal((await offered("route", "add", "")).sort(), ["http", "tcp"]);
  assert.equal(await offered("-a", "x", "deployment", "ca"), ["cancel"]);
  assert.ok((await offered("log", "--")).includes("--follow"));
  assert.not.ok((await offered("apps", "--")).includes("--follow"));
  assert.equal(await offered("info", "-a", ""), ["hello", "other"]);
  assert.equal(await offered("machine", "show", ""), ["m1"]);
});

test("every shell's script knows every visible first word, and no hidden one", () => {
  for (const shell of SHELLS) {
    const script = completionScript(shell, commands);
    for (const { words, hidden } of commands)
      if (!hidden) assert.match(script, new RegExp(`\\b${words.split(" ")[0]}\\b`), shell);
    assert.not.match(script, /-a complete\b|[" ]complete completion\b/);
  }
});

test("zsh and fish scripts begin as their shells want them", () => {
  const few = commands.filter(({ words }) => words === "cluster add" || words === "cluster default" || words === "ps");
  assert.match(completionScript("zsh", few), /^#compdef flynn\n.*\nautoload -Uz compinit bashcompinit\n/);
  assert.is(
    completionScript("fish", few).split("\n").slice(10).join("\n"),
    [
      "complete -c flynn -s a -l app -x -a '(flynn complete apps 2>/dev/null)' -d 'App to act on'",
      "complete -c flynn -s c -l cluster -x -a '(flynn complete clusters 2>/dev/null)' -d 'Cluster to talk to'",
      "complete -c flynn -n __flynn_bare -a cluster -d 'cluster ...'",
      "complete -c flynn -n __flynn_bare -a ps -d 'List an app\\'s jobs, and why those wait that do'",
      "complete -c flynn -n '__flynn_at cluster' -a 'add default'",
      "complete -c flynn -n '__flynn_at cluster add' -s p -l pin -x -d 'sha256 of the cluster\\'s CA certificate, base64'",
      "complete -c flynn -n '__flynn_at cluster add' -s d -l default -d 'Make it the default cluster'",
      "complete -c flynn -n '__flynn_at cluster add' -s f -l force -d 'Replace a cluster of that name'",
      "complete -c flynn -n '__flynn_at cluster default' -a '(flynn complete clusters 2>/dev/null)'",
      "complete -c flynn -n '__flynn_at ps' -l all -d 'Ended jobs too'",
      "complete -c flynn -n '__flynn_at ps' -s t -l type -x -d 'Only jobs of this process'",
      "",
    ].join("\n"),
  );
});

test("an unknown shell is wrong usage", async () => {
  const { code, err } = await invoke(["completion", "tcsh"]);
  assert.is(code, 2);
  assert.match(err, "there is bash, zsh, fish, powershell");
});

test("help of a command shows its flags and the global ones; help of a group its commands", async () => {
  const { code, out } = await invoke(["log", "--help"]);
  assert.is(code, 0);
  assert.is(
    out.split("\n", 1)[0],
    "usage: flynn log [-f] [-n N] [-t TYPE] [-j JOB] [-s SOURCE] [--since TIME] [--until TIME] [-r]",
  );
  assert.match(out, / {2}-n, --lines N {8}Newest lines/);
  assert.match(out, "--json");
  const group = await invoke(["help", "route"]);
  assert.equal(
    group.out
      .split("\n")
      .filter((line) => /^ {2}\S/.test(line))
      .map((line) => line.trim().split("  ")[0]),
    ["route add http", "route add tcp", "route list", "route remove", "route update"],
  );
});

test("a group without its verb is wrong usage: its help goes to stderr and the exit code is 2", async () => {
  const { code, out, err } = await invoke(["profile"]);
  assert.equal([code, out], [2, ""]);
  assert.match(err, "usage: flynn profile <command>");
});

test("help lists every visible command once, on lines a terminal shows", () => {
  const visible = commands.filter(({ hidden }) => !hidden);
  const lines = helpText("", visible).split("\n");
  for (const { words } of visible)
    assert.is(
      lines.filter((line) => line.startsWith(`  ${words} `) && line.trim().startsWith(`${words}  `)).length,
      1,
      words,
    );
  for (const line of lines) assert.ok(line.length <= 110, line);
});

test("--json before any answer is valid JSON for version", async () => {
  const { out } = await invoke(["version", "--json"]);
  assert.match((JSON.parse(out) as { version: string }).version, /^\d+\.\d+\.\d+$/);
});

test.after(() => rm(directory, { recursive: true, force: true }));
/** What stands outside of quoted text, by PowerShell's rules for single quotes. */
const unquoted = (script: string): string => script.replace(/^#.*$/gm, "").replace(/'(?:[^'\n]|'')*'|"[^"\n]*"/g, "");

test("PowerShell's script closes what it opens, and has the words of every command, quoted", () => {
  const script = completionScript("powershell", [
    ...commands,
    { words: "it's odd", summary: "", run: async () => undefined },
  ]);
  const rest = unquoted(script);
  assert.not.match(rest, /['"`]/, "no quote is left open");
  const open: string[] = [];
  for (const [each] of rest.matchAll(/[(){}[\]]/g)) {
    const closes = { ")": "(", "}": "{", "]": "[" }[each];
    if (closes === undefined) open.push(each);
    else assert.is(open.pop(), closes, `${each} closes what was opened`);
  }
  assert.equal(open, []);
  assert.match(script, "\n  'route add' = @('http', 'tcp')\n");
  assert.match(script, "\n  'it''s' = @('odd')\n");
  assert.match(script, /\n {2}'log' = @\(.*'--follow', '-f'.*\)\n/);
  assert.match(script, "\n  'machine show' = @('machines')\n");
  assert.match(script, "Register-ArgumentCompleter -Native -CommandName 'flynn' -ScriptBlock {");
});

test.run();
