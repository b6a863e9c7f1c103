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

test("a startup check that says little may take what it takes by default: three tries of five seconds, five apart", () => {
  const check = (fields: object) =>
    read({ healthchecks: { web: [{ type: "startup", path: "/up", ...fields }] } }).healthchecks["web"]!;
  assert.equal([check({}).timeoutMs, check({}).startTimeoutMs], [5_000, 30_000]);
  const table: [object, number][] = [
    [{ attempts: 1 }, 10_000],
    [{ timeout: 1 }, 18_000],
    [{ timeout: 0 }, 18_000],
    [{ wait: 1 }, 18_000],
    [{ interval: 2, wait: 1 }, 21_000],
    [{ initialDelay: 10 }, 40_000],
    [{ attempts: 1_000, timeout: 600 }, 3_600_000],
  ];
  for (const [fields, startTimeoutMs] of table)
    assert.is(check(fields).startTimeoutMs, startTimeoutMs, JSON.stringify(fields));
  assert.not("stableMs" in check({}));
  assert.is(check({ uptime: 7 }).stableMs, 7_000);
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

test("what does nothing or is plain without its quotes is no reason to refuse a push: it is passed over or taken, and said", () => {
  const empty = read({ scripts: { dokku: { predeploy: "" }, release: " " } });
  assert.is(empty.release, undefined);
  assert.match(empty.warnings.join("\n"), /scripts dokku.predeploy is empty and is passed over/);
  const { env, warnings } = read({ env: { A: { value: 5 }, B: 0.5, C: true, D: { value: false } } });
  assert.equal(
    Object.values(env).map(({ value }) => value),
    ["5", "0.5", "true", "false"],
  );
  assert.match(warnings.join("\n"), /env A: value is taken as text, "5"/);
  const crons = read({
    cron: [{ command: "x", schedule: "often" }, { schedule: "@daily" }, { command: "./tidy", schedule: "@daily" }],
  });
  assert.equal(crons.cron, [{ command: "./tidy", schedule: "@daily" }]);
  assert.match(crons.warnings.join("\n"), /cron entry 1: schedule is to have five fields.*passed over/);
  assert.match(crons.warnings.join("\n"), /cron entry 2: command is to be text/);
});

test("what makes no sense is refused by its name, and no value is repeated", () => {
  assert.match(refusal('{"env": {"A": "s3cret",}}'), /is not JSON/);
  assert.not.match(refusal('{"env": {"A": "s3cret",}}'), "s3cret");
  assert.match(refusal("[]"), /the file is to be an object/);
  assert.match(refusal({ env: { A: [] } }), /env A is to be an object/);
  assert.match(refusal({ buildpacks: ["a", "b c"] }), /buildpack 2: url is to be one word/);
  const variables = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`V${n}`, "x"]));
  assert.is(Object.keys(read({ env: variables(200) }).env).length, 200);
  assert.match(refusal({ env: variables(201) }), /env has more than 200 entries/);
  assert.match(refusal({ env: { A: { value: [] } } }), /env A: value is to be text in quotes/);
  assert.match(refusal({ env: { "A B": "x" } }), /env A B is no name of a variable/);
  assert.match(refusal('{"env": {"__proto__": "x"}}'), /no name of a variable/);
  assert.match(refusal({ env: { A: { generator: "uuid" } } }), /only be "secret"/);
  assert.match(refusal({ env: { A: "x\u0000" } }), /NUL/);
  assert.match(refusal({ formation: { web: { quantity: -1 } } }), /quantity is to be a whole number from 0/);
  assert.match(refusal({ formation: { "9": { quantity: 1 } } }), /is no process type/);
  assert.match(refusal('{"formation": {"__proto__": {"quantity": 1}}}'), /is no process type/);
  assert.match(refusal({ scripts: { release: "a", predeploy: "b" } }), /contradicts/);
  assert.match(refusal({ healthchecks: { web: [{ path: "no" }] } }), /begin with \//);
  assert.match(refusal({ healthchecks: { web: [{}, {}] } }), /second startup check/);
  assert.match(refusal({ healthchecks: { web: [{ path: "/a" }, { type: "liveness", path: "/b" }] } }), /one path/);
  assert.match(refusal({ buildpacks: [{}] }), /url is to be text/);
  assert.match(refusal("x".repeat(300_000)), /256 KiB/);
});

test("a file and each list of it may be so long and no longer", () => {
  const padded = (bytes: number) => refusal(`{}${" ".repeat(bytes - 2)}`);
  assert.equal([padded(262_144), padded(262_145).includes("larger than 256 KiB")], ["read", true]);
  const list = (count: number, entry: unknown) => Array(count).fill(entry);
  const cron = { command: "x", schedule: "@daily" };
  assert.is(refusal({ cron: list(100, cron) }), "read");
  assert.match(refusal({ cron: list(101, cron) }), /list of at most 100/);
  assert.is(refusal({ buildpacks: list(16, "x") }), "read");
  assert.match(refusal({ buildpacks: list(17, "x") }), /list of at most 16/);
  const checks = (count: number) => refusal({ healthchecks: { web: list(count, { type: "readiness" }) } });
  assert.is(checks(20), "read");
  assert.match(checks(21), /list of at most 20/);
  const texts: [field: (length: number) => unknown, most: number][] = [
    [(length) => ({ env: { A: "x".repeat(length) } }), 8_192],
    [(length) => ({ env: { A: { value: "x".repeat(length) } } }), 8_192],
    [(length) => ({ scripts: { release: "x".repeat(length) } }), 4_096],
    [(length) => ({ cron: [{ ...cron, command: "x".repeat(length) }] }), 4_096],
    [(length) => ({ cron: [{ ...cron, schedule: `@${"x".repeat(length - 1)}` }] }), 100],
    [(length) => ({ buildpacks: ["x".repeat(length)] }), 400],
  ];
  for (const [field, most] of texts) {
    assert.is(refusal(field(most) as never), "read", `${most}`);
    const beyond = field(most + 1) as never;
    const said = refusal(beyond);
    const told = said === "read" ? read(beyond).warnings.join("\n") : said; // a cron entry is passed over
    assert.match(told, new RegExp(`is longer than ${most} characters`));
  }
  for (const [quantity, taken] of [
    [0, true],
    [10_000, true],
    [10_001, false],
  ] as const)
    assert.is(refusal({ formation: { web: { quantity } } }) === "read", taken);
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
