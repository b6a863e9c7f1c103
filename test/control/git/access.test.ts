// Whose repository a path is, and what a push may send before git sees it.
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { appOf } from "../../../control/git/access.ts";
import { commandGate, pktLine, refusal as refusalBytes } from "../../../control/git/commands.ts";
import { keys } from "../../../control/keys.ts";
import { refusal } from "../faults.ts";
import { kept } from "../kept.ts";

const app = { id: "app-1", name: "hello" };
const store = kept({ [keys.app("app-1")]: app, [keys.appName("hello")]: "app-1" });

test("a repository is its app's, with .git or without; every other text is refused with what to do", () => {
  for (const path of ["hello", "hello.git"]) assert.equal(appOf(store, path), app);
  const shape = "not-found a repository's path is APP.git, with an app's name";
  for (const path of [
    "",
    ".git",
    "Hello",
    "1hello",
    "-hello",
    "hello/",
    "a/hello",
    "../hello",
    "hello.git.git",
    "hel lo",
    `a${"b".repeat(64)}`,
  ])
    assert.is(
      refusal(() => appOf(store, path)),
      shape,
      path,
    );
  for (const name of ["other", `a${"b".repeat(63)}`])
    assert.is(
      refusal(() => appOf(store, `${name}.git`)),
      `not-found no app ${name}; \`flynn apps\` lists them, \`flynn create ${name}\` makes it`,
    );
  const broken = {
    get: () => {
      throw new Fault("unavailable", "closed");
    },
  } as never;
  assert.is(
    refusal(() => appOf(broken, "hello")),
    "unavailable closed",
  );
});

const FLUSH = "0000";
const line = (text: string) => pktLine(Buffer.from(text));
async function through(parts: (Buffer | string)[], most = 2, mostBytes = Number.POSITIVE_INFINITY) {
  let told = 0;
  let passed = 0;
  const gate = commandGate(most, {
    async admit(bytes) {
      passed += bytes;
      if (passed > mostBytes) throw new Fault("too-large", "too much");
    },
    onRefused: () => told++,
  });
  const out = await buffer(Readable.from(parts.map((part) => Buffer.from(part))).pipe(gate.stream));
  const fault = gate.refused();
  return {
    out: out.toString("latin1"),
    fault: fault && `${fault.code} ${fault.message}`,
    told,
    capabilities: [...gate.capabilities()],
  };
}

test("a push passes as it is: its refs, its flush, and whatever comes after it", async () => {
  const parts = [line("a\0side-band-64k agent=x \n"), line("b"), FLUSH, "PACK 0000 zzzz"];
  const { out, fault, told, capabilities } = await through(parts);
  assert.equal(
    [out, fault, told],
    [Buffer.concat(parts.map((part) => Buffer.from(part))).toString("latin1"), undefined, 0],
  );
  assert.equal(capabilities, ["side-band-64k", "agent=x"]);
  assert.equal((await through([line("a"), FLUSH])).capabilities, []);
  assert.equal((await through([FLUSH])).fault, undefined);
});

test("only the first line says what its client can", async () => {
  assert.equal((await through([line("a"), line("b\0side-band-64k"), FLUSH])).capabilities, []);
});

test("a ref too many ends the push before it; so does what is no line", async () => {
  assert.equal((await through([line("a"), line("b"), FLUSH])).fault, undefined);
  const { out, fault, told } = await through([line("a"), line("b"), line("c"), FLUSH]);
  assert.equal([out, told], [`${line("a")}${line("b")}`, 1]);
  assert.is(fault, "too-large a push of more than 2 refs; push the deploy branch alone");
  const unsound = "invalid this is not what git push sends: a line has no sound length";
  for (const head of ["0001", "0003", "0004", "xyz1", "-001", "fff1", "ffff"])
    assert.is((await through([head])).fault, unsound, head);
  for (const head of ["0005", "fff0", "FFF0"]) assert.is((await through([head])).fault, undefined, head);
});

test("lines are read however they are cut", async () => {
  const bytes = Buffer.concat([line("a\0x y"), line("b"), line("c")]);
  for (const size of [1, 2, 3, 5, 7]) {
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
      bytes.subarray(n * size, n * size + size),
    );
    const { fault, capabilities } = await through(parts);
    assert.equal(
      [fault, capabilities],
      ["too-large a push of more than 2 refs; push the deploy branch alone", ["x", "y"]],
    );
  }
});

test("so many bytes may pass and no more, refs and pack together, and the client is heard to its end", async () => {
  const head = Buffer.concat([line("a"), Buffer.from(FLUSH)]);
  assert.is((await through([head, "12345"], 2, head.length + 5)).fault, undefined);
  const { out, fault, told } = await through([head, "123", "456", "789"], 2, head.length + 5);
  assert.equal([out, fault, told], [`${head}123`, "too-large too much", 1]);
});

test("a gate that is told to refuse does so once, and not after its end", async () => {
  const told: string[] = [];
  const gate = commandGate(2, {
    admit: async () => undefined,
    onRefused: () => told.push("x"),
  });
  gate.refuse(new Fault("invalid", "first"));
  gate.refuse(new Fault("invalid", "second"));
  assert.equal([gate.refused()?.message, told], ["first", ["x"]]);
  const done = commandGate(2);
  await buffer(Readable.from([Buffer.from(FLUSH)]).pipe(done.stream));
  done.refuse(new Fault("invalid", "late"));
  assert.is(done.refused(), undefined);
});

test("a refusal is what receive-pack says: in a band of its own for who can read one, cut to 900 characters", () => {
  assert.is(refusalBytes(new Set(), "no").toString("latin1"), "000eunpack no\n0000");
  assert.is(
    refusalBytes(new Set(["side-band-64k"]), "no").toString("latin1"),
    "000f\u0002 !     no\n0017\u0001000eunpack no\n00000000",
  );
  const long = refusalBytes(new Set(["side-band-64k"]), "x".repeat(2_000)).toString("latin1");
  assert.equal(
    long.match(/x+/g)?.map(({ length }) => length),
    [900, 900],
  );
});

test.run();
