// Words that people bring from Heroku, the first Flynn and Fly: 23 of each. Each does the same here, or is answered with what there is
// instead and a line that works when pasted.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { commands } from "../../cli/commands.ts";
import { HABITS } from "../../cli/parse/habits.ts";
import { parse } from "../../cli/parse/parse.ts";

/** What is typed, and the command of ours that it is; `!` before it: what is answered, in which these words of ours stand. */
type Word = readonly [typed: string, here: string];

const HEROKU: readonly Word[] = [
  ["login", "!flynn cluster add"],
  ["auth:whoami", "!flynn cluster list"],
  ["create blog", "create"],
  ["apps:create blog", "create"],
  ["apps:destroy -a blog --confirm blog", "delete"],
  ["apps:rename journal", "!flynn create"],
  ["apps:info -a blog", "info"],
  ["releases", "releases"],
  ["releases:info v3", "release show"],
  ["rollback v3", "rollback"],
  ["ps:scale web=2", "scale"],
  ["ps:restart web.1", "restart"],
  ["config", "env"],
  ["config:set A=1 B=2", "env set"],
  ["config:get A", "env get"],
  ["logs --tail", "log"],
  ["run bash", "run"],
  ["run:detached rake reindex", "run"],
  ["domains:add blog.example.com", "route add http"],
  ["pg:psql", "!flynn run sh -c"],
  ["addons:create heroku-postgresql", "!flynn env set DATABASE_URL="],
  ["git:remote -a blog", "remote add"],
  ["buildpacks:set heroku/nodejs", "!flynn build set buildpacks="],
];
const FLYNN: readonly Word[] = [
  ["create blog", "create"],
  ["delete -y", "delete"],
  ["apps", "apps"],
  ["info", "info"],
  ["ps", "ps"],
  ["scale web=3 worker=1", "scale"],
  ["kill job-0v3", "kill"],
  ["restart web.1", "restart"],
  ["env", "env"],
  ["env set A=1", "env set"],
  ["env unset A", "env unset"],
  ["log -f -n 200 -t web", "log"],
  ["run -d rake db:migrate", "run"],
  ["release", "releases"],
  ["release rollback", "rollback"],
  ["deployment", "deployment list"],
  ["route", "route list"],
  ["route add http blog.example.com", "route add http"],
  ["limit set web memory=512MB", "limit set"],
  ["docker push blog", "!flynn deploy --image"],
  ["volume list", "!flynn limit set web disk="],
  ["resource add postgres", "!flynn env set DATABASE_URL="],
  ["export", "!flynn env --shell"],
];
const FLY: readonly Word[] = [
  ["launch", "!flynn create"],
  ["deploy", "deploy"],
  ["deploy --detach", "deploy"],
  ["status", "status"],
  ["open", "open"],
  ["logs -a blog", "log"],
  ["apps list", "apps"],
  ["apps create blog", "create"],
  ["apps destroy blog --yes", "delete"],
  ["apps restart", "restart"],
  ["releases", "releases"],
  ["secrets set A=1", "env set"],
  ["secrets list", "env"],
  ["secrets unset A", "env unset"],
  ["secrets", "env"],
  ["scale count 3", "!flynn scale web=3"],
  ["scale show", "scale"],
  ["ssh console", "!flynn exec web.1 sh"],
  ["proxy 5432", "ps forward"],
  ["certs add blog.example.com", "!flynn cert add --cert"],
  ["builds", "build list"],
  ["tokens create deploy", "token create"],
  ["doctor", "doctor"],
];
/** Of the review and the tables, beside those. */
const MORE: readonly Word[] = [
  ["regions", "!flynn scale web="],
  ["regions list", "!flynn scale web="],
  ["platform regions", "!flynn scale web="],
  ["update", "!flynn version"],
  ["ips", "!flynn router list"],
  ["ips list", "!flynn router list"],
  ["pipelines:promote", "!flynn -a blog-production deploy --image"],
  ["access:add ann@example.com", "!flynn token create"],
  ["config:unset A", "env unset"],
  ["config:edit", "env edit"],
  ["ps:exec", "!flynn exec web.1 sh"],
  ["ps:stop web.1", "kill"],
  ["keys:add", "key add"],
  ["drains:add syslog://logs.example.com", "log-drain add"],
  ["maintenance:on", "maintenance on"],
  ["certs", "cert list"],
  ["tokens", "token list"],
  ["ssh", "!flynn exec web.1 sh"],
  ["auth login", "!flynn cluster add"],
  ["whoami", "!flynn cluster list"],
  ["logout", "!flynn cluster remove"],
  ["postgres create", "!flynn env set DATABASE_URL="],
  ["volumes list", "!flynn limit set web disk="],
  ["apps:open", "open"],
  ["restart -a blog web", "restart"],
  ["-a blog config:set A=1", "env set"],
  ["-v", "version"],
  ["--version", "version"],
];

/** Words of a line as a shell gives them; the lines here have single quotes at most. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare!);

function answer(line: string): string {
  try {
    const parsed = parse(wordsOf(line), commands);
    return parsed.type === "run" ? parsed.command.words : "help";
  } catch (error) {
    if (!isFault(error, "invalid")) throw error;
    return `!${error.message}`;
  }
}

for (const [platform, words] of Object.entries({ heroku: HEROKU, flynn: FLYNN, fly: FLY, others: MORE }))
  for (const [typed, here] of words)
    test(`${platform}: \`${typed}\` ${here.startsWith("!") ? "is answered with ours" : `is ${here}`}`, () => {
      const said = answer(typed);
      if (!here.startsWith("!")) return assert.is(said, here);
      assert.match(said, here.slice(1));
      assert.match(said, /^!.* is not a command here: /);
    });

test("of the 69 words at least 45 do the same", () => {
  const all = [...HEROKU, ...FLYNN, ...FLY];
  assert.equal([HEROKU.length, FLYNN.length, FLY.length, all.length], [23, 23, 23, 69]);
  const same = all.filter(([, here]) => !here.startsWith("!")).length;
  assert.ok(same >= 45, `${same}`);
});

test("every word of the table is of somewhere, and is a command of ours or an answer with a line that works", () => {
  for (const { words, from, as, instead, example } of HABITS) {
    assert.ok(from.length > 0, words);
    assert.is((as === undefined) === (instead !== undefined && example !== undefined), true, words);
    if (as === undefined) {
      assert.match(example!, /^flynn /, words);
      const said = answer(example!.slice("flynn ".length));
      assert.ok(
        commands.some((command) => command.words === said),
        `${example}: ${said}`,
      );
    } else
      assert.ok(
        commands.some((command) => as === command.words || as.startsWith(`${command.words} `)),
        `${words}: ${as}`,
      );
  }
  assert.is(new Set(HABITS.map(({ words }) => words)).size, HABITS.length);
});

test("no word of elsewhere hides a command of ours", () => {
  for (const { words } of commands)
    assert.not.ok(
      HABITS.some((habit) => habit.words === words),
      words,
    );
});

for (const [typed, said] of [
  ["network lst", "network takes no arguments, not lst; did you mean `network list`?: flynn network"],
  ["cluster lst", "cluster lst is not a command; did you mean `cluster list`?; see `flynn help`"],
  ["env gte A", "env takes no arguments, not gte A; did you mean `env get`?: flynn env"],
] as const)
  test(`a wrong word after a right one is told the right one: ${typed}`, () => {
    const given = answer(typed).slice(1);
    assert.is(given.slice(0, said.length), said);
  });

test("secrets are listed by name, as fly does, and set as variables", () => {
  for (const line of ["secrets list", "secrets", "secrets list -a blog"]) {
    const parsed = parse(wordsOf(line), commands);
    assert.equal(parsed.type === "run" && [parsed.command.words, parsed.flags.has("names")], ["env", true], line);
  }
  const set = parse(wordsOf("secrets set A=1"), commands);
  assert.is(set.type === "run" && set.flags.has("names"), false);
});

test("what stands behind the command's words is its own, of whatever it reminds", () => {
  const parsed = parse(["run", "node", "-e", "1"], commands);
  assert.equal(parsed.type === "run" && [parsed.command.words, parsed.tail], ["run", ["node", "-e", "1"]]);
  const logs = parse(["logs", "--tail", "--num", "5"], commands);
  assert.equal(logs.type === "run" && [...logs.flags.keys()], ["follow", "lines"]);
});

test.run();
