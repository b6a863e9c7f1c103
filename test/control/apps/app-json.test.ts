// app.json: what is done is read, what is not is named in a warning, what makes no sense is refused in words; whatever comes in.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { firstEnv, parseAppJson } from "../../../control/apps/app-json.ts";

const refusal = (value: unknown): string => {
  try {
    parseAppJson(typeof value === "string" ? value : JSON.stringify(value));
  } catch (error) {
    if (isFault(error, "invalid")) return error.message;
    throw error;
  }
  return "read";
};
const read = (value: unknown) => parseAppJson(JSON.stringify(value));

test("a whole app.json becomes variables, counts, a release command, checks, cron entries and buildpacks", () => {
  const app = read({
    name: "shop",
    env: {
      PLAIN: "x",
      SECRET: { generator: "secret", description: "signs cookies" },
      NEEDED: { description: "where mail goes" },
      MAYBE: { required: false },
      PRESET: { value: "y", sync: true },
    },
    formation: { web: { quantity: 2, max_parallel: 1 }, worker: { quantity: 0 } },
    scripts: { dokku: { predeploy: "./migrate" }, postdeploy: "./seed" },
    healthchecks: {
      web: [
        { type: "startup", path: "/up", attempts: 4, timeout: 2, wait: 3, initialDelay: 10, uptime: 7, port: 99 },
        { type: "liveness", interval: 5, attempts: 6 },
      ],
      worker: [{ command: ["true"] }],
    },
    cron: [{ command: "./tidy", schedule: "0 4 * * *" }],
    buildpacks: [{ url: "heroku/nodejs" }, "https://example.test/pack.git#v1"],
    addons: ["heroku-postgresql"],
  });
  assert.equal(app.env, {
    PLAIN: { value: "x", generated: false, required: false },
    SECRET: { generated: true, required: true, description: "signs cookies" },
    NEEDED: { generated: false, required: true, description: "where mail goes" },
    MAYBE: { generated: false, required: false },
    PRESET: { value: "y", generated: false, required: true },
  });
  assert.equal(app.formation, { web: 2, worker: 0 });
  assert.is(app.release, "./migrate");
  assert.equal(app.healthchecks, {
    web: {
      type: "http",
      path: "/up",
      intervalMs: 5_000,
      timeoutMs: 2_000,
      rise: 1,
      fall: 6,
      startTimeoutMs: 30_000,
      stableMs: 7_000,
    },
  });
  assert.equal(app.cron, [{ command: "./tidy", schedule: "0 4 * * *" }]);
  assert.equal(app.buildpacks, ["heroku/nodejs", "https://example.test/pack.git#v1"]);
  const said = app.warnings.join("\n");
  for (const word of ["max_parallel", "sync", "postdeploy", "release phase", "port", "command", "cron", "addons"])
    assert.match(said, word);
  assert.not.match(said, "app.json: name");
});

test("the first environment holds presets and fresh secrets, leaves alone what is there, and names what is missing", () => {
  const app = read({ env: { A: "a", B: { generator: "secret" }, C: { value: "c" }, D: { required: false } } });
  assert.equal(
    firstEnv(app, { A: "mine" }, () => "made"),
    { B: "made", C: "c" },
  );
  const [one, two] = [firstEnv(app, {}), firstEnv(app, {})];
  assert.ok(one["B"]!.length >= 40 && one["B"] !== two["B"]);
  const needs = read({ env: { MAIL: { description: "where mail goes" }, KEY: {} } });
  assert.throws(
    () => firstEnv(needs, {}),
    (error: Error) =>
      /requires MAIL \(where mail goes\), KEY; .*flynn env set MAIL=\.\.\. KEY=\.\.\./.test(error.message),
  );
  assert.equal(firstEnv(needs, { MAIL: "m", KEY: "" }), {});
});

test("what the platform sets itself is passed over, and said", () => {
  const { env, warnings } = read({ env: { PORT: "5000", A: "b" } });
  assert.equal(Object.keys(env), ["A"]);
  assert.match(warnings[0]!, /env PORT is set by the platform/);
});

test("what makes no sense is refused by its name, and no value is repeated", () => {
  assert.match(refusal('{"env": {"A": "s3cret",}}'), /is not JSON/);
  assert.not.match(refusal('{"env": {"A": "s3cret",}}'), "s3cret");
  assert.match(refusal("[]"), /the file is to be an object/);
  assert.match(refusal({ env: { A: 5 } }), /env A is to be an object/);
  assert.match(refusal({ env: { A: { value: 5 } } }), /env A: value is to be text in quotes/);
  assert.match(refusal({ env: { "A B": "x" } }), /env A B is no name of a variable/);
  assert.match(refusal('{"env": {"__proto__": "x"}}'), /no name of a variable/);
  assert.match(refusal({ env: { A: { generator: "uuid" } } }), /only be "secret"/);
  assert.match(refusal({ env: { A: "x\u0000" } }), /NUL/);
  assert.match(refusal({ formation: { web: { quantity: -1 } } }), /quantity is to be a whole number from 0/);
  assert.match(refusal({ formation: { "9": { quantity: 1 } } }), /is no process type/);
  assert.match(refusal('{"formation": {"__proto__": {"quantity": 1}}}'), /is no process type/);
  assert.match(refusal({ scripts: { release: "a", predeploy: "b" } }), /contradicts/);
  assert.match(refusal({ scripts: { release: " " } }), /no command/);
  assert.match(refusal({ healthchecks: { web: [{ path: "no" }] } }), /begin with \//);
  assert.match(refusal({ healthchecks: { web: [{}, {}] } }), /second startup check/);
  assert.match(refusal({ healthchecks: { web: [{ path: "/a" }, { type: "liveness", path: "/b" }] } }), /one path/);
  assert.match(refusal({ cron: [{ command: "x", schedule: "often" }] }), /five fields/);
  assert.match(refusal({ buildpacks: [{}] }), /url is to be text/);
  assert.match(refusal("x".repeat(300_000)), /256 KiB/);
});

test("nesting without end, prototypes and warnings by the thousand do no harm", () => {
  assert.match(refusal(`{"env":${"[".repeat(50_000)}${"]".repeat(50_000)}}`), /env is to be an object/);
  assert.is(refusal(`{"other":${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}}`), "read");
  parseAppJson('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
  assert.is(({} as Record<string, unknown>)["polluted"], undefined);
  const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`field${n}`, 1]));
  assert.is(read(many).warnings.length, 30);
});

test("property: any JSON, and any text, is read or refused as invalid", () => {
  const names = fc.constantFrom(
    ..."env formation scripts healthchecks cron buildpacks dokku web __proto__ constructor type path value generator quantity command".split(
      " ",
    ),
  );
  const tree = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom<unknown>(null, true, 0, -1, 1.5, "", "x", "startup", "secret", "/a"),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.array(fc.tuple(names, tie("value")), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs)),
    ),
  })).value;
  fc.assert(
    fc.property(
      fc.oneof(
        tree.map((value) => JSON.stringify(value)),
        fc.string(),
      ),
      (source) => {
        if (refusal(source) !== "read") return;
        const app = parseAppJson(source);
        for (const count of Object.values(app.formation)) assert.ok(Number.isInteger(count));
        try {
          for (const value of Object.values(firstEnv(app, {}))) assert.type(value, "string");
        } catch (error) {
          assert.ok(isFault(error, "invalid"), String(error));
        }
      },
    ),
    { numRuns: 3_000 },
  );
});

test.run();
