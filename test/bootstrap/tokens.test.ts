import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BootRecord, createTokens } from "../../bootstrap/tokens.ts";

const MAC = "52:54:00:00:00:01";
const home = { address: "10.77.0.50", hardware: MAC };
const of = { machineId: "m-1", imageId: "img1", mac: MAC, source: home };

function setUp() {
  const saved: BootRecord[] = [];
  const clock = { ms: 0 };
  const save = async (record: BootRecord) => void saved.push(structuredClone(record));
  const open = () => createTokens({ save, nowMs: () => clock.ms });
  return { saved, clock, open, tokens: open() };
}
const verdict = (use: { ok: boolean; status?: number }) => (use.ok ? 200 : use.status);

test("a path is good once, with one retry from the same place within a minute; a replay is 410", async () => {
  const { tokens, clock } = setUp();
  const { token } = await tokens.mint(of);
  const first = await tokens.use(token, "user-data", home);
  assert.ok(first.ok && first.first);
  clock.ms = 59_000;
  const retry = await tokens.use(token, "user-data", home);
  assert.ok(retry.ok && !retry.first);
  assert.is(verdict(await tokens.use(token, "user-data", home)), 410);
});

test("after a minute there is no retry", async () => {
  const { tokens, clock } = setUp();
  const { token } = await tokens.mint(of);
  await tokens.use(token, "user-data", home);
  clock.ms = 61_000;
  assert.is(verdict(await tokens.use(token, "user-data", home)), 410);
});

test("each path is counted on its own", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint(of);
  assert.is(verdict(await tokens.use(token, "meta-data", home)), 200);
  assert.is(verdict(await tokens.use(token, "user-data", home)), 200);
});

test("from another card or, behind a relay, another address it is 403 and burns nothing", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint(of);
  for (const foreign of [
    { address: "10.77.0.50", hardware: "52:54:00:00:00:66" },
    { address: "10.77.0.66", hardware: "52:54:00:00:00:66" },
    { address: "10.77.0.66" },
  ]) {
    assert.is(verdict(await tokens.use(token, "user-data", foreign)), 403);
  }
  assert.is(verdict(await tokens.use(token, "user-data", home)), 200);
});

test("the same card with another address than in the firmware is the same machine", async () => {
  const { tokens } = setUp();
  const { token } = await tokens.mint(of);
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.77.0.51", hardware: MAC })), 200);
});

test("behind a relay's card only the same address is the same machine", async () => {
  const { tokens } = setUp();
  const relay = "02:00:00:00:00:01";
  const { token } = await tokens.mint({ ...of, source: { address: "10.88.0.5", hardware: relay } });
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.88.0.6", hardware: relay })), 403);
  assert.is(verdict(await tokens.use(token, "user-data", { address: "10.88.0.5", hardware: relay })), 200);
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

test("a restart forgets neither a used path nor an ended token, and the disk never holds the token itself", async () => {
  const { tokens, saved, open } = setUp();
  const earlier = await tokens.mint(of);
  const later = await tokens.mint(of);
  await tokens.use(later.token, "user-data", home);
  await tokens.use(later.token, "user-data", home);
  const restarted = open();
  for (const record of saved) restarted.replay(record);
  assert.is(verdict(await restarted.use(later.token, "user-data", home)), 410);
  assert.is(verdict(await restarted.use(later.token, "meta-data", home)), 200);
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

test.run();
