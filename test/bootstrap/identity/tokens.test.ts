import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BootRecord, createTokens } from "../../../bootstrap/identity/tokens.ts";

const MAC = "52:54:00:00:00:01";
const home = { address: "10.77.0.50", card: MAC };
const of = { machineId: "m-1", imageId: "img1", mac: MAC, source: home };

function setUp() {
  const saved: BootRecord[] = [];
  const clock = { ms: 0 };
  const save = async (record: BootRecord) => void saved.push(structuredClone(record));
  const open = () => createTokens({ save, nowMs: () => clock.ms });
  return { saved, clock, open, tokens: open() };
}
const verdict = (use: { ok: boolean; status?: number }) => (use.ok ? 200 : use.status);

test("ten fetches of one boot over two minutes are served, and none after its host has joined", async () => {
  const { tokens, clock } = setUp();
  const { token, boot } = await tokens.mint(of);
  for (let n = 0; n < 10; n++, clock.ms += 12_000) {
    const use = await tokens.use(token, "user-data", home);
    assert.ok(use.ok, `fetch ${n}`);
    assert.is(use.ok && use.first, n === 0);
  }
  tokens.joined([boot.bootId]);
  assert.is(verdict(await tokens.use(token, "user-data", home)), 410);
  assert.is(verdict(tokens.check(token, home)), 200, "what it reports still comes in");
});

test("each file of the seed is served", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint(of);
  assert.is(verdict(await tokens.use(token, "meta-data", home)), 200);
  assert.is(verdict(await tokens.use(token, "user-data", home)), 200);
});

test("from another card, or from none that is seen, it is 403 and burns nothing", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint(of);
  for (const foreign of [
    { address: "10.77.0.50", card: "52:54:00:00:00:66" },
    { address: "10.77.0.66", card: "52:54:00:00:00:66" },
    { address: "10.77.0.50" },
    { address: "10.77.0.50", relay: "10.88.0.1" },
  ]) {
    assert.is(verdict(await tokens.use(token, "user-data", foreign)), 403);
  }
  assert.is(verdict(await tokens.use(token, "user-data", home)), 200);
});

test("the same card with a new lease is the same machine; with an address lent to another it is not", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint(of);
  const elsewhere = { address: "10.77.0.51", card: MAC };
  assert.is(verdict(await tokens.use(token, "user-data", elsewhere)), 200);
  assert.is(verdict(await tokens.use(token, "user-data", { ...elsewhere, leasedTo: MAC })), 200);
  assert.is(verdict(await tokens.use(token, "user-data", { ...elsewhere, leasedTo: "52:54:00:00:00:66" })), 403);
});

test("behind a relay only the same address of the same relay is the same machine", async () => {
  const { tokens } = setUp();
  const relay = "10.88.0.1";
  const { token } = await tokens.mint({ ...of, source: { address: "10.88.0.5", relay } });
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.88.0.6", relay })), 403);
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.88.0.5", relay: "10.89.0.1" })), 403);
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.88.0.5" })), 403);
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.88.0.5", relay })), 200);
});

test("a token that was bound to nothing that was seen is good for nobody", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint({ ...of, source: { address: "10.77.0.50" } });
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.77.0.50" })), 403);
});

test("after fifteen minutes it is 410, and an invented one is 403", async () => {
  const { tokens, clock } = setUp();
  const { token } = await tokens.mint(of);
  clock.ms = 15 * 60_000 + 1;
  assert.is(verdict(await tokens.use(token, "user-data", home)), 410);
  for (const invented of ["", "x", "A".repeat(43), "../..", "A".repeat(5_000)]) {
    assert.is(verdict(await tokens.use(invented, "user-data", home)), 403);
  }
});

test("a later boot of the machine ends the earlier token", async () => {
  const { tokens } = setUp();
  const earlier = await tokens.mint(of);
  const later = await tokens.mint(of);
  assert.is(verdict(await tokens.use(earlier.token, "user-data", home)), 410);
  assert.is(verdict(await tokens.use(later.token, "user-data", home)), 200);
  assert.is(tokens.bootAt(home)?.bootId, later.boot.bootId);
});

test("a restart forgets neither a join nor an ended token, and the disk never holds the token itself", async () => {
  const { tokens, saved, open } = setUp();
  const earlier = await tokens.mint(of);
  const later = await tokens.mint(of);
  await tokens.use(later.token, "user-data", home);
  const between = open();
  for (const record of saved) between.replay(record);
  assert.is(verdict(await between.use(later.token, "user-data", home)), 200);
  tokens.joined([later.boot.bootId]);
  const restarted = open();
  for (const record of saved) restarted.replay(record);
  assert.is(verdict(await restarted.use(later.token, "user-data", home)), 410);
  assert.is(verdict(restarted.check(later.token, home)), 200);
  assert.is(verdict(await restarted.use(earlier.token, "meta-data", home)), 410);
  assert.is(restarted.bootAt(home)?.bootId, later.boot.bootId);
  assert.not.match(JSON.stringify(saved), later.token);
});

test("old boots are forgotten", async () => {
  const { tokens, clock } = setUp();
  await tokens.mint(of);
  clock.ms = 2 * 3_600_000;
  await tokens.mint({ ...of, machineId: "m-2" });
  assert.is(tokens.boots().length, 1);
});

test("after a restart the newest boot is its machine's own, in whichever order the records lie", async () => {
  const { tokens, saved, open } = setUp();
  await tokens.mint(of);
  const { boot } = await tokens.mint(of);
  const [first, ended, later] = saved as [BootRecord, BootRecord, BootRecord];
  assert.equal([ended.revoked, later.bootId], [true, boot.bootId]);
  for (const order of [
    [first, ended, later],
    [first, later, ended],
  ]) {
    const restarted = open();
    for (const record of order) restarted.replay(record);
    assert.is(restarted.bootAt(home)?.bootId, boot.bootId);
  }
  const alone = open();
  for (const record of [first, ended]) alone.replay(record);
  assert.is(alone.bootAt(home), undefined, "ended, and none after it");
});

test("a boot, and a first fetch, are answered when the disk has them", async () => {
  const writes: (() => void)[] = [];
  const tokens = createTokens({ save: () => new Promise((resolve) => writes.push(resolve)) });
  const turns = async () => {
    for (let n = 0; n < 20; n++) await Promise.resolve();
  };
  const answered: string[] = [];
  const minting = tokens.mint(of).then((minted) => {
    answered.push("mint");
    return minted;
  });
  await turns();
  assert.equal([writes.length, answered], [1, []]);
  writes.pop()!();
  const { token } = await minting;
  const using = tokens.use(token, "user-data", home).then((use) => answered.push(`use ${use.ok}`));
  await turns();
  assert.equal([writes.length, answered], [1, ["mint"]]);
  writes.pop()!();
  await using;
  assert.equal(answered, ["mint", "use true"]);
  const again = tokens.mint(of).then(() => answered.push("again"));
  await turns();
  assert.is(writes.length, 2, "the boot that ended, and the new one");
  writes.pop()!();
  await turns();
  assert.is(answered.length, 2);
  writes.pop()!();
  await again;
});

test("a boot is recorded with its source, its times and no secret", async () => {
  const { tokens, saved, clock } = setUp();
  clock.ms = 5;
  const { token, boot } = await tokens.mint(of);
  assert.match(token, /^[A-Za-z0-9_-]{43}$/);
  const { bootId, tokenHash, ...rest } = boot;
  const record = { machineId: "m-1", imageId: "img1", mac: MAC, address: "10.77.0.50", mintedAtMs: 5, uses: {} };
  assert.equal(rest, { ...record, hardware: MAC });
  assert.match(bootId, /^boot-/);
  assert.equal(saved, [boot]);
  const relayed = await tokens.mint({ ...of, machineId: "m-2", source: { address: "10.88.0.5", relay: "10.88.0.1" } });
  assert.equal([relayed.boot.relay, relayed.boot.hardware], ["10.88.0.1", undefined]);
  clock.ms = 9;
  await tokens.use(token, "user-data", home);
  clock.ms = 11;
  await tokens.use(token, "user-data", home);
  assert.equal(saved.at(-1)!.uses, { "user-data": { firstAtMs: 9 } });
  assert.is(saved.length, 3, "only a first fetch is written");
});

test("a refusal says what was wrong, and of which boot", async () => {
  const { tokens, clock } = setUp();
  const { token, boot } = await tokens.mint(of);
  const said = async (source: object, shown = token) => {
    const use = await tokens.use(shown, "x", source as never);
    return use.ok ? "fine" : `${use.status} ${use.reason} ${use.boot?.bootId === boot.bootId}`;
  };
  assert.is(await said(home, "A".repeat(43)), "403 no such token false");
  assert.is(
    await said({ address: "10.77.0.9" }),
    `403 used from 10.77.0.9 (card unknown), given to 10.77.0.50 (card ${MAC}) true`,
  );
  assert.is(
    await said({ address: "10.77.0.9", card: "x" }),
    `403 used from 10.77.0.9 (card x), given to 10.77.0.50 (card ${MAC}) true`,
  );
  clock.ms = 15 * 60_000;
  assert.is(await said(home), "fine");
  clock.ms++;
  assert.is(await said(home), "410 too old true");
  tokens.joined([boot.bootId]);
  clock.ms = 0;
  assert.is(await said(home), "410 its host has joined true");
  await tokens.mint(of);
  assert.is(await said(home), "410 a later boot of this machine ended it true");
  const relayed = await tokens.mint({ ...of, machineId: "m-2", source: { address: "10.88.0.5", relay: "10.88.0.1" } });
  const use = await tokens.use(relayed.token, "x", home);
  assert.match(use.ok ? "" : use.reason, /given to 10\.88\.0\.5 \(card behind a relay\)$/);
});

test("of a source's boots the newest live one is its own", async () => {
  const { tokens, clock } = setUp();
  assert.is(tokens.bootAt(home), undefined);
  const first = await tokens.mint(of);
  clock.ms = 10;
  const second = await tokens.mint({ ...of, machineId: "m-2" });
  assert.is(tokens.bootAt(home)?.bootId, second.boot.bootId);
  assert.is(tokens.bootAt({ address: "10.77.0.50", card: "x" }), undefined);
  clock.ms = 15 * 60_000 + 10;
  assert.is(tokens.bootAt(home)?.bootId, second.boot.bootId);
  clock.ms++;
  assert.is(tokens.bootAt(home), undefined);
  assert.is(first.boot.revoked, undefined);
});

test("a boot is remembered for an hour after its end, a replay of it is told as one until then", async () => {
  const { tokens, clock } = setUp();
  const { token } = await tokens.mint(of);
  const sweep = async () => void (await tokens.mint({ ...of, machineId: `m-${clock.ms}` }));
  clock.ms = 75 * 60_000;
  await sweep();
  assert.is(verdict(tokens.check(token, home)), 410);
  clock.ms++;
  await sweep();
  assert.is(verdict(tokens.check(token, home)), 403);
});

test("a join that is told twice is written once, and one of an unknown boot is nobody's", async () => {
  const { tokens, saved } = setUp();
  const { boot } = await tokens.mint(of);
  tokens.joined(["boot-x"]);
  assert.is(saved.length, 1);
  tokens.joined([boot.bootId]);
  tokens.joined([boot.bootId]);
  assert.equal([saved.length, saved.at(-1)!.joined], [2, true]);
});

test("a join that the disk does not take is no error: control says it again", async () => {
  const broken = createTokens({
    save: async (record) => (record.joined ? Promise.reject(new Error("full")) : undefined),
  });
  const { boot } = await broken.mint(of);
  broken.joined([boot.bootId]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(broken.boots()[0]!.joined);
});

test.run();
