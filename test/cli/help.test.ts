// Help: in groups, with a line for every command that works when pasted.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { commands } from "../../cli/commands.ts";
import { parse } from "../../cli/parse/parse.ts";
import { exampleOf, REST, TOPICS, topicOf } from "../../cli/parse/topics.ts";
import { invoke } from "./invoke.ts";

const shown = commands.filter(({ hidden }) => !hidden);
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/(?:'[^']*'|[^\s'])+/g)].map(([word]) => word.replaceAll("'", ""));

test("every command has an example, which is of that command", () => {
  for (const command of shown) {
    const example = exampleOf(command);
    assert.ok(example, `${command.words} needs one in cli/parse/topics.ts, or as the first line of its help`);
    const [program, ...argv] = wordsOf(example!.split(" < ")[0]!.split(" | ").at(-1)!);
    assert.is(program, "flynn", example);
    const parsed = parse(argv, commands);
    assert.is(parsed.type === "run" && parsed.command.words, command.words, example);
  }
});

test("every command stands in one group, and every group has some", () => {
  for (const { title } of TOPICS)
    assert.ok(
      shown.some(({ words }) => topicOf(words) === title),
      title,
    );
  assert.equal(
    shown.filter(({ words }) => topicOf(words) === REST).map(({ words }) => words),
    ["completion"],
  );
});

test("help lists the groups; help of a topic its commands with an example each; help of a command its own", async () => {
  const all = await invoke(["help"]);
  assert.is(all.code, 0);
  assert.match(all.out, /^usage: flynn/);
  assert.match(all.out, /\nApps:\n {2}apps +List apps\n/);
  assert.match(all.out, /\nReaching:\n/);
  assert.match(all.out, "Exit codes: 0 ok, 1 failed");
  const topic = (await invoke(["help", "route"])).out;
  assert.match(topic, /route add http +Lead a domain.*\n +flynn route add http blog\.example\.com\n/);
  const env = (await invoke(["help", "env"])).out;
  assert.match(env, /^usage: flynn env /);
  assert.match(env, /\nAnd:\n {2}env edit/);
  const one = (await invoke(["help", "env", "get"])).out;
  assert.match(one, "flynn env get DATABASE_URL");
  assert.match((await invoke(["config:set", "--help"])).out, /^usage: flynn env set /);
});

test.run();
