// What an app's images, and all apps' together, may be in the registry.
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { claimImage } from "../../../control/disk/images.ts";
import { keys } from "../../../control/keys.ts";
import { refusal } from "../faults.ts";
import { kept } from "../kept.ts";

const artifact = (id: string, appId: string, sizeBytes: number) =>
  [keys.artifact(id), { id, appId, sizeBytes }] as const;
const build = (id: string, appId: string, sizeBytes: number, more: object = {}) =>
  [keys.build(appId, id), { id, appId, state: "running", product: { type: "image", sizeBytes }, ...more }] as const;
const app = [keys.app("app-1"), { id: "app-1", name: "hello" }] as const;
const storeOf = (...entries: (readonly [string, unknown])[]) => kept(Object.fromEntries([app, ...entries]));
const codeOf = (work: () => unknown) => refusal(work).split(" ")[0];
const quota = (appImageBytes: number, imageBytes = 0) => ({ appImageBytes, imageBytes });

test("an app may fill its share to the last byte, and no more", () => {
  const claim = claimImage(storeOf(artifact("a", "app-1", 40)), quota(100), "app-1");
  claim.add(60);
  assert.is(
    codeOf(() => claim.add(1)),
    "too-large",
  );
});

test("who has nothing left is refused before the first byte, by name and with what to do", () => {
  const full = () => claimImage(storeOf(artifact("a", "app-1", 100)), quota(100), "app-1");
  assert.match(
    refusal(full),
    /^too-large the images of hello may be 100 B together and are 100 B: .*flynn up --app-image-limit/,
  );
  assert.match(
    refusal(() => claimImage(kept(Object.fromEntries([artifact("a", "gone", 9)])), quota(5), "gone")),
    /the images of gone may be/,
  );
  claimImage(storeOf(artifact("a", "app-1", 99)), quota(100), "app-1");
});

test("the images of others count for the whole only", () => {
  const store = storeOf(artifact("a", "app-2", 70), artifact("b", "app-1", 10));
  claimImage(store, quota(50), "app-1").add(40);
  const claim = claimImage(storeOf(artifact("a", "app-2", 70), artifact("b", "app-1", 10)), quota(50, 100), "app-1");
  claim.add(20);
  assert.match(
    refusal(() => claim.add(1)),
    /^no-capacity the images of all apps may be 100 B together and are 80 B: .*flynn up --image-limit/,
  );
});

test("an app that is over its own share hears of that, though all apps' is nearly full as well", () => {
  const claim = claimImage(storeOf(artifact("a", "app-2", 70), artifact("b", "app-1", 10)), quota(20, 100), "app-1");
  claim.add(10);
  assert.is(
    codeOf(() => claim.add(30)),
    "too-large",
  );
});

test("no limit for all apps together is none", () => {
  claimImage(storeOf(artifact("a", "app-2", 1e15)), quota(100, 0), "app-1").add(100);
});

test("uploads at once share what is left; one that ended without an image gives it back", () => {
  const store = storeOf();
  const first = claimImage(store, quota(100), "app-1");
  first.add(60);
  const second = claimImage(store, quota(100), "app-1");
  second.add(40);
  assert.is(
    codeOf(() => second.add(1)),
    "too-large",
  );
  first.end();
  second.add(59);
  const foreign = claimImage(store, quota(100), "app-2");
  foreign.add(100);
});

test("what has come in counts until its artifact is on record, and once from then on", () => {
  const values: Record<string, unknown> = Object.fromEntries([app]);
  const empty = kept(values);
  const recorded = kept({ ...values, ...Object.fromEntries([artifact("a", "app-1", 60)]) });
  let now = empty;
  const store = { get: (key: string) => now.get(key), list: (prefix: string) => now.list(prefix) } as typeof empty;
  const first = claimImage(store, quota(100), "app-1");
  first.add(60);
  first.end("a");
  const second = claimImage(store, quota(100), "app-1");
  assert.is(
    codeOf(() => second.add(41)),
    "too-large",
    "not on record yet",
  );
  second.end();
  now = recorded;
  claimImage(store, quota(100), "app-1").add(40);
});

test("what a build has sent counts until an artifact is made of it or the build has ended", () => {
  const left = (...builds: (readonly [string, unknown])[]) =>
    codeOf(() => claimImage(storeOf(...builds), quota(100), "app-1").add(50));
  assert.is(left(build("b", "app-1", 60)), "too-large");
  assert.is(left(build("b", "app-1", 50)), "fine");
  assert.is(left(build("b", "app-2", 60)), "fine");
  assert.is(left(build("b", "app-1", 60, { artifactId: "a" })), "fine");
  assert.is(left(build("b", "app-1", 60, { state: "failed" })), "fine");
  assert.is(left(build("b", "app-1", 60, { product: { type: "slug", sizeBytes: 60 } })), "fine");
  assert.is(left(build("b", "app-1", 60, { product: undefined })), "fine");
});

test("an archive passes as it is while there is room, and breaks off soon after there is none", async () => {
  const chunks = (count: number) => Readable.from(Array.from({ length: count }, () => Buffer.alloc(10, 7)));
  const claim = claimImage(storeOf(), quota(100), "app-1");
  assert.equal(await buffer(claim.counted(chunks(10))), Buffer.alloc(100, 7));
  assert.is(
    codeOf(() => claim.add(1)),
    "too-large",
    "what passed was counted",
  );
  const endless = chunks(10_000);
  let passed = 0;
  const failure = await (async () => {
    try {
      for await (const chunk of claimImage(storeOf(), quota(1_000), "app-1").counted(endless)) passed += chunk.length;
      return undefined;
    } catch (error) {
      return error;
    }
  })();
  assert.is((failure as { code?: string }).code, "too-large");
  assert.ok(passed <= 1_000 + 63, `${passed} bytes passed`);
  assert.ok(endless.destroyed);
});

test("an archive that is a byte too large is refused at its end, though it came between two looks", async () => {
  const archive = Readable.from([Buffer.alloc(96), Buffer.alloc(5)]);
  const failure = await buffer(claimImage(storeOf(), quota(100), "app-1").counted(archive)).catch((error) => error);
  assert.is(failure.code, "too-large");
});

test("an archive that fails on its way fails for who reads it", async () => {
  const archive = new Readable({ read: () => archive.destroy(new Error("cut off")) });
  const failure = await buffer(claimImage(storeOf(), quota(100), "app-1").counted(archive)).catch((error) => error);
  assert.is(failure.message, "cut off");
});

test("an archive that is refused before anybody reads it ends nothing, and who reads it then hears why", async () => {
  const claim = claimImage(storeOf(artifact("a", "app-1", 40)), quota(100), "app-1");
  const stream = claim.counted(Readable.from([Buffer.alloc(50), Buffer.alloc(50)]));
  // An error without a listener would end the process.
  await new Promise((resolve) => stream.once("close", resolve));
  const error = await buffer(stream).catch((caught: unknown) => caught);
  assert.is((error as { code?: string }).code, "too-large");
});

test.run();
