// A server that means ill, or passes on what somebody who does gave it: a terminal shows its text and does nothing of it, scripts get every
// byte, and no list goes on for ever.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Client } from "#api/client.ts";
import { isFault } from "#api/fault.ts";
import { listTokens } from "#api/tokens.ts";
import { listAll } from "../../cli/clusters/connect.ts";
import { closeFakes, type FakeControl, fakeControl } from "./fake-control.ts";
import type { Invoked } from "./invoke.ts";

test.after.each(closeFakes);

const NASTY = "\x1b]0;owned\x07\x1b[2J\x1b[8m\u009b31m\u009d0;x\u009c\u202eevil\u2066\u2028\x7f\rFAKE: ok";
/** What a terminal acts on; our own colours apart. */
const ACTED_ON = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;
const OURS = /\x1b\[(0|1|2|3[1-6])m/g;
const TERMINAL = { terminal: { out: true, err: true, columns: 200, errColumns: 200 } };

const AT = "2026-01-01T00:00:00.000Z";
const APP = { id: "app-1", name: "hello", strategy: "rolling", deployTimeoutMs: 1, createdAt: AT, releaseId: "r" };
const ANSWERS: Readonly<Record<string, unknown>> = {
  "GET /v1/apps": { items: [APP] },
  "GET /v1/apps/hello": APP,
  "GET /v1/apps/hello/env": { env: { A: "b", C: "d" } },
  "GET /v1/apps/hello/releases": {
    items: [
      {
        ...{ id: "r", appId: "a", version: 1, processes: { web: { port: 1 } }, envNames: ["A"], current: true },
        ...{ description: "d", createdAt: AT, createdBy: "x" },
      },
    ],
  },
  "GET /v1/tokens": { items: [{ id: "t", name: "n", permissions: ["app:read"], createdAt: AT, createdBy: "x" }] },
  "GET /v1/profiles/default/render": { userData: "#cloud-config\nruncmd: []\n", cmdline: ["quiet"] },
};
const LINES = [
  "apps",
  "token list",
  "-a hello release",
  "-a hello env",
  "-a hello env --shell",
  "profile render default",
];

/** Every text of it, but for times and what chooses a form. */
function nasty(value: unknown, key = ""): unknown {
  if (typeof value === "string") return /^\d{4}-/.test(value) || key === "strategy" ? value : value + NASTY;
  if (Array.isArray(value)) return value.map((one) => nasty(one));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, nasty(one, name)]));
}

async function hostile(): Promise<FakeControl> {
  const control = await fakeControl();
  for (const [what, json] of Object.entries(ANSWERS)) control.on(what, { json: nasty(json) });
  return control;
}

const isQuiet = ({ out, err }: Invoked, what: string): void =>
  assert.not.match((out + err).replace(OURS, ""), ACTED_ON, what);

test("a terminal is shown a server's text, and does nothing of it", async () => {
  const control = await hostile();
  for (const line of [...LINES, "-a hello env get A"]) {
    const shown = await control.flynn(line, TERMINAL);
    assert.is(shown.code, 0, `${line}: ${shown.err}`);
    assert.match(shown.out, /evil/, line);
    isQuiet(shown, line);
  }
});

test("JSON on a terminal is the same value, with what a terminal acts on as \\uNNNN", async () => {
  const control = await hostile();
  for (const line of LINES.filter((one) => !one.includes("--shell"))) {
    const piped = await control.flynn(`${line} --json`);
    const shown = await control.flynn(`${line} --json`, TERMINAL);
    assert.is(shown.code, 0, `${line}: ${shown.err}`);
    isQuiet(shown, line);
    assert.equal(JSON.parse(shown.out), JSON.parse(piped.out), line);
  }
});

test("a fault's text is cleaned for a terminal too, as words and as JSON", async () => {
  const control = await fakeControl();
  control.on("GET /v1/apps", { fault: "conflict", message: `no ${NASTY}`, status: 409 });
  isQuiet(await control.flynn("apps", TERMINAL), "words");
  const json = await control.flynn("apps --json", TERMINAL);
  isQuiet(json, "JSON");
  assert.is(JSON.parse(json.err).message, `no ${NASTY}`);
});

test("a pipe gets every byte", async () => {
  const control = await hostile();
  assert.is((await control.flynn("-a hello env get A")).out, `b${NASTY}\n`);
  assert.ok((await control.flynn("profile render default")).out.includes(NASTY));
});

test("a list whose pages lead round is an error, not a wait", async () => {
  const control = await fakeControl();
  const page = (nextCursor: string) => ({ json: { items: [], nextCursor } });
  control.on("GET /v1/tokens", page("a"), page("b"), page("a"), page("b"));
  const { code, err } = await control.flynn("token list");
  assert.is.not(code, 0);
  assert.match(err, /error: .*list.*without end/);
  assert.ok(control.asked.length <= 4, `${control.asked.length} requests`);
});

test("a list that has always one more page ends at a bound", async () => {
  let pages = 0;
  const client = { call: async () => ({ items: [], nextCursor: `c${++pages}` }) } as unknown as Client;
  const failure = await listAll(client, listTokens).catch((error: unknown) => error);
  assert.ok(isFault(failure));
  assert.match(failure.message, /without end/);
  assert.ok(pages <= 10_000, `${pages} pages`);
});

test.run();
