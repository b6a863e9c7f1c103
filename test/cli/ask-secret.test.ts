// A token that is typed on a terminal is not shown there, and the terminal is as before whatever happens.
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { closeFakes, fakeControl } from "./fake-control.ts";
import { onTerminal } from "./on-terminal.ts";

test.after.each(closeFakes);
const main = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const TOKEN = "flt_typed-by-hand.0123456789";

async function adding(keys: string) {
  const control = await fakeControl();
  control.on("GET /v1/status", { json: {} });
  const cluster = [process.execPath, main, "cluster", "add", "typed", control.url, "--pin", control.pin];
  const { shown } = await onTerminal({
    argv: ["sh", "-c", '"$@"; echo "ended with $?"; stty -a', "sh", ...cluster],
    env: { ...control.env, PATH: `${dirname(process.execPath)}:/usr/bin:/bin`, GIT_CONFIG_NOSYSTEM: "1" },
    cwd: control.env.HOME,
    typed: [{ after: "not shown here): ", keys }],
  });
  for (const mode of ["echo", "icanon", "isig"]) assert.match(shown, new RegExp(`(?<!-)\\b${mode}\\b`), shown);
  const tokens = control.asked.map(({ headers }) => headers.authorization);
  return { shown, tokens };
}

test("the token is taken as typed and is not in what the terminal shows", async () => {
  const { shown, tokens } = await adding(`${TOKEN}\r`);
  assert.match(shown, 'Cluster "typed" added.');
  assert.match(shown, "ended with 0");
  assert.not.match(shown, TOKEN.slice(0, 8));
  assert.equal([...new Set(tokens.filter(Boolean))], [`Bearer ${TOKEN}`]);
});

test("Ctrl-C ends it as interrupted, Ctrl-D with a word; nothing is sent and the half of a token is not shown", async () => {
  for (const [keys, ended] of [
    ["half-of-it\x03", "ended with 130"],
    ["\x04", "ended with 2"],
  ] as const) {
    const { shown, tokens } = await adding(keys);
    assert.match(shown, ended);
    assert.not.match(shown, "half-of");
    assert.not.match(shown, "added");
    assert.equal(tokens.filter(Boolean), []);
  }
});

test.run();
