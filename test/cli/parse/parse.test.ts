import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { commands as real } from "../../../cli/commands.ts";
import type { Command } from "../../../cli/parse/command.ts";
import { type Parsed, parse, usage } from "../../../cli/parse/parse.ts";

const run = async () => undefined;
const commands: Command[] = [
  { words: "log", summary: "", flags: LOG_FLAGS(), run },
  { words: "env", summary: "", run },
  { words: "env set", summary: "", args: [{ name: "K=V", required: true, rest: true }], run },
  { words: "route list", summary: "", run },
  { words: "route add http", summary: "", args: [{ name: "DOMAIN", required: true }, { name: "PATH" }], run },
  {
    words: "deploy",
    summary: "",
    flags: [{ name: "env", short: "e", value: "K=V", help: "", repeat: true }],
    tail: "CMD",
    run,
  },
  { words: "up", summary: "", flags: [{ name: "no-host", help: "" }], run },
  { words: "version", summary: "", run },
  { words: "secret", summary: "", hidden: true, run },
];
function LOG_FLAGS() {
  return [
    { name: "follow", short: "f", help: "" },
    { name: "lines", short: "n", value: "N", help: "" },
    { name: "type", short: "t", value: "TYPE", help: "" },
    { name: "name", value: "NAME", help: "" },
  ];
}

/** `words | args | flag=value,... | -- tail`, or the error. */
function shown(line: string | string[]): string {
  const argv = typeof line === "string" ? line.split(" ").filter(Boolean) : line;
  let parsed: Parsed;
  try {
    parsed = parse(argv, commands);
  } catch (error) {
    if (!isFault(error, "invalid")) throw error;
    return `error: ${error.message}`;
  }
  if (parsed.type === "help")
    return `help ${parsed.asked ? "asked" : "unasked"}: ${parsed.commands.map(({ words }) => words).join(", ")}`;
  const flags = [...parsed.flags].map(([name, values]) => [name, ...values].join("=")).join(",");
  return [parsed.command.words, parsed.args.join(" "), flags, parsed.tail.join(" ")].join(" | ").replace(/[ |]+$/, "");
}

const table: [string, string][] = [
  ["log", "log"],
  ["log -f", "log |  | follow"],
  ["-a hello log", "log |  | app=hello"],
  ["log -a hello", "log |  | app=hello"],
  ["--app=hello log -f", "log |  | app=hello,follow"],
  ["-ahello log", "log |  | app=hello"],
  ["log -n 5", "log |  | lines=5"],
  ["log -n5", "log |  | lines=5"],
  ["log -n=5", "log |  | lines=5"],
  ["log --lines=5", "log |  | lines=5"],
  ["log --lines 5", "log |  | lines=5"],
  ["log -fn 5", "log |  | follow,lines=5"],
  ["log -fn5", "log |  | follow,lines=5"],
  ["log -t -1", "log |  | type=-1"],
  ["log --name 007", "log |  | name=007"],
  ["log --name 1e5", "log |  | name=1e5"],
  ["log --name=a=b", "log |  | name=a=b"],
  ["log --name true", "log |  | name=true"],
  ["env set A=1 B=2", "env set | A=1 B=2"],
  ["env:set A=1", "env set | A=1"],
  ["env set -a x A=1", "env set | A=1 | app=x"],
  ["env -a x set A=1", "env set | A=1 | app=x"],
  ["env set 007 -1x", "error: env set has no flag -1x; see `flynn help env set`"],
  ["env set -", "env set | -"],
  ["env --json", "env |  | json"],
  ["env --json set 1", "env set | 1 | json"],
  ["route:add:http x.test", "route add http | x.test"],
  ["route:add http x.test", "route add http | x.test"],
  ["route add http x:80", "route add http | x:80"],
  ["route add http x.test /p", "route add http | x.test /p"],
  ["deploy -- node -x --json", "deploy |  |  | node -x --json"],
  ["deploy -e A=1 --env B=2", "deploy |  | env=A=1=B=2"],
  ["up --no-host", "up |  | no-host"],
  ["up --no-color", "up |  | no-color"],
  ["--version", "version"],
  ["secret", "secret"],
  // Help.
  ["", "help asked: log, env, env set, route list, route add http, deploy, up, version"],
  ["help", "help asked: log, env, env set, route list, route add http, deploy, up, version"],
  ["--help", "help asked: log, env, env set, route list, route add http, deploy, up, version"],
  ["help log", "help asked: log"],
  ["log -h", "help asked: log"],
  ["log --help -n", "help asked: log"],
  ["help route", "help asked: route list, route add http"],
  ["route --help", "help asked: route list, route add http"],
  ["route add -h", "help asked: route add http"],
  ["help route add http", "help asked: route add http"],
  ["route:add:http --help", "help asked: route add http"],
  ["route", "route list"],
  ["route add", "help unasked: route add http"],
  // What is wrong.
  ["lgo", "error: lgo is not a command; did you mean `log`?; see `flynn help`"],
  ["config:set A=1", "env set | A=1"],
  ["-a x config:set A=1", "env set | A=1 | app=x"],
  ["config -a x", "env |  | app=x"],
  ["logs --tail", "log |  | follow"],
  ["logs --num=5 --ps web", "log |  | lines=5,type=web"],
  ["help config:set", "help asked: env set"],
  ["env lst", "error: env takes no arguments, not lst; did you mean `env set`?: flynn env"],
  ["-v", "version"],
  ["log -v", "error: log has no flag -v; see `flynn help log`"],
  [
    "backup /tmp/b",
    "error: backup is not a command here: the appliance's state is backed up there: flynn cluster backup /mnt/b.bak",
  ],
  ["constructor", "error: constructor is not a command; see `flynn help`"],
  [
    "deploy -x",
    "error: deploy has no flag -x; a command's own flags go after --: deploy ... -- CMD; see `flynn help deploy`",
  ],
  ["rout list", "error: rout list is not a command; did you mean `route list`?; see `flynn help`"],
  ["route lst", "error: route lst is not a command; did you mean `route list`?; see `flynn help`"],
  ["rotue:list", "error: rotue:list is not a command; did you mean `route list`?; see `flynn help`"],
  ["quite-other", "error: quite-other is not a command; see `flynn help`"],
  ["secre", "error: secre is not a command; see `flynn help`"],
  ["constructor", "error: constructor is not a command; see `flynn help`"],
  ["__proto__", "error: __proto__ is not a command; see `flynn help`"],
  ["route constructor", "error: route constructor is not a command; see `flynn help`"],
  ["help nothing", "error: nothing is not a command; see `flynn help`"],
  ["log --nope", "error: log has no flag --nope; see `flynn help log`"],
  ["log -x", "error: log has no flag -x; see `flynn help log`"],
  ["log -fx", "error: log has no flag -x; see `flynn help log`"],
  ["log --no-follow", "error: log has no flag --no-follow; see `flynn help log`"],
  ["log --__proto__=1", "error: log has no flag --__proto__; see `flynn help log`"],
  ["log --follow=yes", "error: --follow takes no value"],
  ["log -n", "error: --lines needs a value: --lines N"],
  ["log -n --json", "error: --lines needs a value: --lines N"],
  ["log --lines=", "error: --lines needs a value: --lines N"],
  ["log -n 1 -n 2", "error: --lines was given more than once"],
  ["log extra", "error: log takes no arguments, not extra: flynn log [-f] [-n N] [-t TYPE] [--name NAME]"],
  ["log -- tail", "error: log takes nothing after --: flynn log [-f] [-n N] [-t TYPE] [--name NAME]"],
  ["env set", "error: env set needs K=V: flynn env set <K=V>..."],
  ["route add http", "error: route add http needs DOMAIN: flynn route add http <DOMAIN> [PATH]"],
  ["route add http a b c", "error: route add http takes at most 2, not c: flynn route add http <DOMAIN> [PATH]"],
];
for (const [line, expected] of table) test(`flynn ${line || "(nothing)"}`, () => assert.is(shown(line), expected));

test("empty and spaced words are arguments like others", () => {
  assert.is(shown(["env", "set", "", "a b"]), "env set |  a b");
});

test("whatever is typed, it is a command, help, or an error of usage", () => {
  const word = fc.oneof(
    fc.string(),
    fc.constantFrom(
      "log",
      "env",
      "set",
      "route",
      "add",
      "--",
      "-n",
      "--json",
      "-",
      "--app",
      "-a",
      "--app=",
      ":",
      "env:set",
    ),
  );
  void fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), (argv) => {
      assert.type(shown(argv), "string");
    }),
  );
});

test("values pass through unchanged, whatever they look like", () => {
  void fc.assert(
    fc.property(fc.string({ minLength: 1 }), (value) => {
      const parsed = parse(["log", `--name=${value}`], commands);
      assert.is(parsed.type, "run");
      if (parsed.type === "run") assert.equal(parsed.flags.get("name"), [value]);
    }),
  );
});

test("every command of the table is found by its words, with spaces and with colons", () => {
  for (const command of real) {
    const needed = (command.args ?? []).filter(({ required }) => required).map(() => "x");
    for (const words of [command.words.split(" "), [command.words.replaceAll(" ", ":")]]) {
      const parsed = parse([...words, ...needed], real);
      assert.is(parsed.type === "run" && parsed.command.words, command.words);
    }
    assert.match(usage(command), command.words);
  }
});

test("no command's flags clash with each other or with the global ones", () => {
  for (const { words, flags = [] } of real) {
    const names = [...flags.map(({ name }) => name), "app", "cluster", "json", "no-color", "help"];
    const shorts = [...flags.flatMap(({ short }) => (short ? [short] : [])), "a", "c", "h"];
    assert.is(new Set(names).size, names.length, words);
    assert.is(new Set(shorts).size, shorts.length, words);
  }
});

test.run();
