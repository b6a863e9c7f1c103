// Access tokens: told once, no more rights than whoever made them, and refused from the moment they are revoked or over.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listApps } from "#api/apps.ts";
import { isFault } from "#api/fault.ts";
import { listEvents } from "#api/status.ts";
import { createToken, getToken, listTokens, revokeToken } from "#api/tokens.ts";
import { accessTokens } from "../../../control/identity/tokens.ts";
import { PREFIX } from "../../../control/keys.ts";
import type { TokenRecord } from "../../../control/records.ts";
import { EXPIRED_TOKEN_KEPT_MS, surplusPortions } from "../../../control/surplus.ts";
import { type Rig, withRig } from "../rig.ts";

const quiet = (body: (rig: Rig) => Promise<void>) => withRig(body, { loops: false });
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "fine",
    (error: unknown) => (isFault(error) ? `${error.code} ${error.message}` : String(error)),
  );

test("a token is shown once, does what it may and nothing else, and is refused once revoked", () =>
  quiet(async ({ admin, client, store }) => {
    const made = await admin.call(createToken, { body: { name: "ci", permissions: ["app:read"] } });
    assert.match(made.token, /^fat_[A-Za-z0-9_-]{43}$/);
    const ci = client({ token: made.token });
    assert.equal((await ci.call(listApps, {})).items, []);
    assert.match(await codeOf(ci.call(createToken, { body: { name: "x", permissions: ["app:read"] } })), /^forbidden/);
    const listed = (await admin.call(listTokens, {})).items;
    assert.not.match(JSON.stringify(listed), made.token);
    assert.not.match(JSON.stringify(store.list(PREFIX.tokens)), made.token);
    const own = listed.find(({ name }) => name === "ci")!;
    assert.equal([own.permissions, own.createdBy], [["app:read"], "admin"]);
    assert.ok(own.lastUsedAt, "it was used");
    assert.equal((await admin.call(getToken, { params: { id: "ci" } })).id, own.id);
    await admin.call(revokeToken, { params: { id: "ci" } });
    assert.match(await codeOf(ci.call(listApps, {})), /^unauthenticated/);
    assert.match(await codeOf(admin.call(revokeToken, { params: { id: "ci" } })), /^not-found no token ci/);
  }));

test("nobody gives or takes away rights that are not his own", () =>
  quiet(async ({ client, tokenWith, admin }) => {
    const writer = client({ token: await tokenWith(["cluster:read", "cluster:write", "app:read"]) });
    const wish = (permissions: ("*" | "app:read" | "app:write" | "cluster:write")[]) =>
      writer.call(createToken, { body: { name: "more", permissions } });
    for (const permissions of [["*"], ["app:write"], ["app:read", "app:write"]] as const)
      assert.match(await codeOf(wish([...permissions])), /^forbidden .* has no permission/);
    await wish(["app:read", "cluster:write"]);
    assert.match(await codeOf(writer.call(revokeToken, { params: { id: "admin" } })), /^forbidden/);
    await writer.call(revokeToken, { params: { id: "more" } });
    assert.ok((await admin.call(listTokens, {})).items.some(({ name }) => name === "admin"));
  }));

test("the last token that may do everything for ever is not revoked by mistake", () =>
  quiet(async ({ admin }) => {
    await admin.call(createToken, { body: { name: "soon", permissions: ["*"], ttlMs: 60_000 } });
    const last = await codeOf(admin.call(revokeToken, { params: { id: "admin" } }));
    assert.match(last, /^precondition token admin is the last .*flynn token create/);
    await admin.call(createToken, { body: { name: "ann", permissions: ["*"] } });
    await admin.call(revokeToken, { params: { id: "admin" } });
  }));

test("one that is over is refused in words, is listed for a while, and then goes", () =>
  quiet(async ({ admin, client, store }) => {
    const { token, id, expiresAt } = await admin.call(createToken, {
      body: { name: "short", permissions: ["app:read"], ttlMs: 60_000 },
    });
    assert.equal((await client({ token }).call(listApps, {})).items, []);
    const { key, value } = store.list<TokenRecord>(PREFIX.tokens).find((entry) => entry.value.id === id)!;
    await store.commit({
      actor: "test",
      mutations: [{ key, value: { ...value, expiresAt: "2026-01-01T00:00:00.000Z" } }],
    });
    assert.match(
      await codeOf(client({ token }).call(listApps, {})),
      /^unauthenticated token short expired at 2026-01-01/,
    );
    const goes = (nowMs: number) =>
      [...surplusPortions(store, nowMs)].flat().filter((change) => change.key.startsWith(PREFIX.tokens));
    const overMs = Date.parse("2026-01-01T00:00:00.000Z");
    assert.equal(goes(overMs + EXPIRED_TOKEN_KEPT_MS - 1), []);
    assert.equal(goes(overMs + EXPIRED_TOKEN_KEPT_MS + 1), [{ key, value: null }]);
    assert.ok(expiresAt);
  }));

test("names are told apart, the same request is made once, and what was made and taken is an event", () =>
  quiet(async ({ admin }) => {
    const body = { name: "ci", permissions: ["app:read" as const] };
    const idempotencyKey = "once";
    await admin.call(createToken, { body, idempotencyKey });
    assert.match(await codeOf(admin.call(createToken, { body, idempotencyKey })), /^conflict/);
    assert.match(await codeOf(admin.call(createToken, { body })), /^conflict there is a token ci already/);
    assert.is((await admin.call(listTokens, {})).items.filter(({ name }) => name === "ci").length, 1);
    await admin.call(revokeToken, { params: { id: "ci" } });
    const types = (await admin.call(listEvents, {})).items.map(({ type }) => type);
    for (const type of ["token.made", "token.revoked"]) assert.ok(types.includes(type), types.join());
  }));

test("uses are kept over a restart, and written seldom however often one is used", () =>
  quiet(async ({ admin, store, control }) => {
    await admin.call(listTokens, {});
    const tokens = accessTokens(control.context);
    await tokens.keepUses();
    const [entry] = store.list<TokenRecord>(PREFIX.tokens);
    assert.ok(entry!.value.lastUsedAt);
    const { seq } = store;
    await admin.call(listTokens, {});
    await tokens.keepUses();
    assert.is(store.seq, seq);
  }));

test.run();
