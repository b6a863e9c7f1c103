// The rules of git's side: what a push may ask for, what its first bytes and a key's line may be, and the small codecs between.
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { parseCgiHead } from "../../../control/git/cgi.ts";
import { commandGate, pktLine } from "../../../control/git/commands.ts";
import { parsePublicKey } from "../../../control/git/public-key.ts";
import { exitFrame, frame, frameReader, KIND } from "../../../control/git/relay/frames.ts";
import { gitConfigText } from "../../../control/git/settings.ts";
import { parseSshCommand } from "../../../control/git/ssh.ts";
import { authorizedKeysLine } from "../../../control/git/ssh-keys.ts";
import { turns } from "../../../control/git/turns.ts";
import { judge, parseUpdates } from "../../../control/git/updates.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const NONE = "0".repeat(40);
const app = { name: "hello" };
const main = { from: A, to: B, ref: "refs/heads/main" };

test("one update of a deploy branch is deployed; everything else is refused with what to type", () => {
  assert.equal(judge([main], app), { deploy: main, branch: "main" });
  assert.equal(judge([{ ...main, ref: "refs/heads/master" }], app), {
    deploy: { ...main, ref: "refs/heads/master" },
    branch: "master",
  });
  assert.equal(judge([main], { ...app, deployBranch: "live" }), {
    refused: [
      "branch main is not deployed: live is",
      "To deploy it: git push flynn main:live",
      "To deploy main from now on: flynn -a hello deploy set branch=main",
    ],
  });
  for (const updates of [
    [],
    [{ ...main, to: NONE }],
    [{ from: A, to: NONE, ref: "refs/tags/v1" }],
    [{ from: NONE, to: NONE, ref: "refs/heads/old" }],
    [main, { from: A, to: NONE, ref: "refs/heads/old" }],
    [main, { ...main, ref: "refs/tags/v1" }],
    [main, { ...main, ref: "refs/heads/master" }],
    [{ ...main, ref: "refs/heads/main/x" }],
    [{ ...main, ref: "refs/heads/Main" }],
    [{ ...main, ref: "refs/remotes/main" }],
  ])
    assert.ok("refused" in judge(updates, app), JSON.stringify(updates));
});

test("branches that are not deployed from any more may be deleted, and nothing beside", () => {
  const old = { from: A, to: NONE, ref: "refs/heads/old" };
  assert.equal(judge([old], app), { remove: [old] });
  assert.equal(
    judge(
      [main, main].map((each) => ({ ...each, to: NONE, ref: `${each.ref}/x` })),
      app,
    ),
    {
      remove: [main, main].map((each) => ({ ...each, to: NONE, ref: `${each.ref}/x` })),
    },
  );
});

test("a thousand refused refs are twenty lines and a number; no name reaches the advice that a shell would read otherwise", () => {
  const many = Array.from({ length: 1_000 }, (_, n) => ({ from: NONE, to: A, ref: `refs/tags/v${n}` }));
  const { refused } = judge(many, app) as { refused: string[] };
  assert.is(refused.length, 22);
  assert.is(refused[20], "and 980 more like these");
  const evil = judge([{ from: NONE, to: A, ref: "refs/heads/$(id)" }], app) as { refused: string[] };
  assert.equal(evil.refused.slice(1), ["To deploy: git push flynn main"]);
});

test("lines of the hook are read as git writes them, and anything else is nothing", () => {
  assert.equal(parseUpdates(`${A} ${B} refs/heads/main\n${NONE} ${A} refs/tags/x\n`), [
    main,
    { from: NONE, to: A, ref: "refs/tags/x" },
  ]);
  for (const bad of [
    `${A} ${B}\n`,
    `${A} ${B} refs/heads/a b\n`,
    `x ${B} refs/heads/a\n`,
    `${A} ${B} HEAD\n`,
    "refs\n",
  ])
    assert.is(parseUpdates(bad), undefined, bad);
});

const through = async (bytes: Buffer, sizes: number[], most = 3) => {
  const chunks: Buffer[] = [];
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const size = sizes.length > 0 ? sizes[n % sizes.length]! : bytes.length;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  const gate = commandGate(most);
  const out = await buffer(Readable.from(chunks).pipe(gate.stream));
  return { out, refused: gate.refused(), capabilities: gate.capabilities() };
};
const request = (count: number, pack: Uint8Array) =>
  Buffer.concat([
    ...Array.from({ length: count }, (_, n) =>
      pktLine(Buffer.from(`${NONE} ${A} refs/heads/b${n}${n === 0 ? "\0report-status side-band-64k" : ""}`)),
    ),
    Buffer.from("0000"),
    pack,
  ]);

test("the gate lets a push through unchanged however it is cut, and reads what its client can", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3 }),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.integer({ min: 1, max: 70 }), { maxLength: 5 }),
      async (count, pack, sizes) => {
        const bytes = request(count, pack);
        const { out, refused, capabilities } = await through(bytes, sizes);
        assert.is(refused, undefined);
        assert.equal(out, bytes);
        assert.is(capabilities.has("side-band-64k"), count > 0);
      },
    ),
    { numRuns: 100 },
  );
});

test("the gate ends a push of too many refs and what is no pkt-line, before the line that is too much", async () => {
  const { out, refused } = await through(request(5, Buffer.from("PACK")), [11]);
  assert.is(refused?.code, "too-large");
  assert.ok(out.length < request(4, Buffer.alloc(0)).length);
  for (const bad of ["zzzz", "0001", "0003abc", "fffffoo", "GET / HTTP/1.1"])
    assert.is((await through(Buffer.from(bad), [])).refused?.code, "invalid", bad);
});

test("an SSH command is one of git's two with one repository; nothing else is", () => {
  assert.equal(parseSshCommand("git-receive-pack 'hello.git'"), {
    service: "git-receive-pack",
    repository: "hello.git",
  });
  assert.equal(parseSshCommand("git-upload-pack '/hello.git'"), {
    service: "git-upload-pack",
    repository: "hello.git",
  });
  assert.equal(parseSshCommand("git receive-pack hello.git"), { service: "git-receive-pack", repository: "hello.git" });
  fc.assert(
    fc.property(fc.string(), (text) => {
      const parsed = parseSshCommand(text) ?? parseSshCommand(`git-receive-pack '${text}'`);
      if (parsed) assert.match(parsed.repository, /^[A-Za-z0-9._-]{1,80}$/);
    }),
  );
  for (const bad of [
    "",
    "git-upload-archive 'a.git'",
    "git-receive-pack",
    "git-receive-pack 'a.git';id",
    "git-receive-pack 'a.git'\nid",
    "git-receive-pack '../a'",
    "scp -t x",
  ])
    assert.is(parseSshCommand(bad), undefined, bad);
});

test("no text but a sound key of a kind that is taken becomes a line for sshd", () => {
  const blob = Buffer.concat([
    Buffer.from([0, 0, 0, 11]),
    Buffer.from("ssh-ed25519"),
    Buffer.from([0, 0, 0, 32]),
    Buffer.alloc(32, 7),
  ]).toString("base64");
  const key = parsePublicKey(`ssh-ed25519 ${blob} a "quoted" $(id) comment`);
  const line = authorizedKeysLine({ ...key, id: "key-1", name: "k", createdBy: "x", createdAt: "" } as never, [
    "/run/it's/node",
    "relay.ts",
  ]);
  assert.is(line, `restrict,command="'/run/it'\\''s/node' 'relay.ts' 'ssh' 'key-1'" ssh-ed25519 ${blob}\n`);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `ssh-ed25519 ${text}`),
        fc.uint8Array().map((bytes) => `ssh-rsa ${Buffer.from(bytes).toString("base64")}`),
      ),
      (text) => {
        try {
          parsePublicKey(text);
          return false;
        } catch (error) {
          return isFault(error, "invalid");
        }
      },
    ),
  );
});

test("frames come out as they went in, however they are cut", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), fc.integer({ min: 1, max: 20 }), (payloads, size) => {
      const bytes = Buffer.concat([...payloads.map((payload) => frame(KIND.stdout, payload)), exitFrame(7)]);
      const read = frameReader();
      const got = [];
      for (let at = 0; at < bytes.length; at += size) got.push(...read(bytes.subarray(at, at + size)));
      assert.equal(
        got.map(({ payload }) => [...payload]),
        [...payloads.map((payload) => [...payload]), [7]],
      );
    }),
  );
});

test("a CGI head is read whole or not at all", () => {
  assert.is(parseCgiHead(Buffer.from("Status: 404 Not Found\r\nA: b\r\n")), undefined);
  assert.equal(parseCgiHead(Buffer.from("Status: 404 Not Found\r\nExpires: x\r\n\r\nbody")), {
    status: 404,
    headers: [["expires", "x"]],
    bodyAt: 37,
  });
  assert.throws(() => parseCgiHead(Buffer.from("no header\r\n\r\n")), /none/);
  assert.throws(() => parseCgiHead(Buffer.alloc(20_000, "a")), /does not end/);
});

test("turns are given in the order of asking, one at a time, and one that is given up is passed over", async () => {
  const queue = turns();
  const order: string[] = [];
  const { signal } = new AbortController();
  const first = await queue.take("a", { signal });
  const given = new AbortController();
  const second = queue.take("a", { signal: given.signal, onWait: (before) => order.push(`second after ${before}`) });
  const third = queue.take("a", { signal, onWait: (before) => order.push(`third after ${before}`) });
  (await queue.take("b", { signal }))();
  given.abort(new Error("given up"));
  await second.then(
    () => assert.unreachable(),
    (error: Error) => order.push(error.message),
  );
  first();
  first();
  (await third)();
  order.push("third");
  (await queue.take("a", { signal }))();
  assert.equal(order, ["second after 1", "third after 2", "given up", "third"]);
});

test("git's configuration forbids what a repository may not bring", () => {
  const text = gitConfigText({ hooksDir: '/a "b"\\c', packBytes: 5 });
  assert.match(text, '\thooksPath = "/a \\"b\\"\\\\c"\n');
  for (const line of [
    'fsckObjects = "true"',
    '[protocol "ext"]\n\tallow = "never"',
    'maxInputSize = "5"',
    'getanyfile = "false"',
  ])
    assert.ok(text.includes(line), line);
});

test.run();
