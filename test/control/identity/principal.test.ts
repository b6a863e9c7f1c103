// Who calls, and may they: every kind of caller on every kind of permission, and what is shown but not good.
import { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Permission } from "#api/endpoint.ts";
import type { JoinRole } from "#api/members.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { openAuthority, SKEW_MS } from "../../../control/identity/authority.ts";
import { grantKeys, useNextKey } from "../../../control/identity/next-key.ts";
import { authorize, identify, type Principal, sha256Hex, tokenPrincipal } from "../../../control/identity/principal.ts";
import { keys } from "../../../control/keys.ts";
import type { MemberRecord } from "../../../control/records.ts";
import type { Store } from "../../../control/store/store.ts";
import { refusal } from "../faults.ts";
import { kept } from "../kept.ts";
import { inScratch } from "../store/scratch.ts";

const member = (role: JoinRole, id: string): Principal => ({
  kind: "member",
  role,
  id,
  name: `${role} ${id}`,
  certificate: { notBefore: "", notAfter: "" },
  keySha256: "",
});
const token = (...permissions: string[]): Principal => ({
  kind: "token",
  name: "ann",
  id: "t1",
  permissions,
  sha256: "",
});
const nobody: Principal = { kind: "anonymous", name: "anonymous", id: "" };

const RIGHTS: [permission: string, caller: Principal, id: string | undefined, answer: string][] = [
  ...["public", "join"].flatMap((permission): [string, Principal, undefined, string][] =>
    [nobody, token(), member("host", "h1")].map((caller) => [permission, caller, undefined, "fine"]),
  ),
  ["app:read", nobody, undefined, "unauthenticated GET /v1/x needs a token"],
  ["member", nobody, "h1", "unauthenticated GET /v1/x needs a token"],
  ["agent", nobody, "h1", "unauthenticated GET /v1/x needs a token"],
  ["app:read", token("app:read"), undefined, "fine"],
  ["app:read", token("app:write", "app:read"), "a1", "fine"],
  ["app:read", token("*"), undefined, "fine"],
  ["app:write", token("app:read"), undefined, "forbidden ann has no permission app:write"],
  ["app:read", token(), undefined, "forbidden ann has no permission app:read"],
  ["app:read", member("host", "h1"), "h1", "forbidden host h1 has no permission app:read"],
  ["member", member("host", "h1"), "h1", "fine"],
  ["member", member("router", "r1"), "r1", "fine"],
  ["member", member("host", "h1"), "h2", "forbidden /v1/x is for member h2"],
  ["member", member("host", "h1"), undefined, "forbidden /v1/x is for member"],
  ["member", token("*"), "t1", "forbidden /v1/x is for member t1"],
  ["agent", member("host", "h1"), "h1", "fine"],
  ["agent", member("host", "h1"), undefined, "fine"],
  ["agent", member("host", "h1"), "h2", "forbidden /v1/x is for host h2"],
  ["agent", member("router", "h1"), "h1", "forbidden /v1/x is for host h1"],
  ["agent", token("*"), "t1", "forbidden /v1/x is for host t1"],
  ["router", member("router", "r1"), "r1", "fine"],
  ["router", member("host", "r1"), "r1", "forbidden /v1/x is for router r1"],
  ["boot", member("boot", "b1"), "b1", "fine"],
  ["boot", member("host", "b1"), undefined, "forbidden /v1/x is for boot"],
];
test("a caller does what its token or role and id allow, and nothing else", () => {
  for (const [permission, caller, id, answer] of RIGHTS) {
    const endpoint = { method: "GET", path: "/v1/x", permission: permission as Permission };
    const ask = () => authorize(caller, endpoint, id === undefined ? {} : { id });
    assert.is(refusal(ask), answer, `${permission} ${caller.name} ${id}`);
  }
});

test("a refusal repeats no text that is no id", () => {
  const endpoint = { method: "GET", path: "/v1/x", permission: "agent" as Permission };
  for (const [id, repeated] of [
    ["h2;rm", ""],
    ["\u001b[2J", ""],
    ["x".repeat(65), ""],
    ["x".repeat(64), "x".repeat(64)],
    ["A.b_c-1", "A.b_c-1"],
  ] as const)
    assert.is(
      refusal(() => authorize(member("host", "h1"), endpoint, { id })),
      `forbidden /v1/x is for host ${repeated}`.trim(),
    );
});

const known = (secret: string) =>
  kept({ [keys.token(sha256Hex(secret))]: { id: "t1", name: "ann", permissions: ["*"] } });
const UNKNOWN =
  "unauthenticated the token is not known; on the appliance's own machine `flynn cluster token` makes a new one";

test("a token is known by its digest; another, or a text that can be none, is refused and never nobody's", () => {
  const secret = "abcdefgh.12-_";
  assert.equal(tokenPrincipal(secret, known(secret)), {
    kind: "token",
    name: "ann",
    id: "t1",
    permissions: ["*"],
    sha256: sha256Hex(secret),
  });
  for (const [text, answer] of [
    ["a".repeat(8), "fine"],
    ["a".repeat(512), "fine"],
    ["a".repeat(7), UNKNOWN],
    ["a".repeat(513), UNKNOWN],
    ["aaaa aaaa", UNKNOWN],
    ["", UNKNOWN],
  ] as const)
    assert.is(
      refusal(() => tokenPrincipal(text, known(text))),
      answer,
    );
  assert.is(
    refusal(() => tokenPrincipal("abcdefgh", known("other-one"))),
    UNKNOWN,
  );
});

const request = (authorization?: string, socket: object = {}) =>
  ({ headers: authorization === undefined ? {} : { authorization }, socket }) as unknown as IncomingMessage;

test("a request is its token's, else its certificate's, else nobody's; a header that is no token is refused", () => {
  const secret = "abcdefgh";
  const [is] = [identify(request(`Bearer ${secret}`), known(secret))];
  assert.is(is.kind, "token");
  for (const header of ["", "Bearer", `bearer ${secret}`, `Basic ${secret}`, `x Bearer ${secret}`])
    assert.is(
      refusal(() => identify(request(header), known(secret))),
      UNKNOWN,
      header,
    );
  assert.equal(identify(request(), kept()), nobody);
  assert.equal(identify(request(undefined, { getPeerX509Certificate: () => undefined }), kept()), nobody);
});

test("a member is whom its certificate names, while the store has that key or its next one for it", () =>
  inScratch(async (directory) => {
    const authority = await openAuthority(join(directory, "ca"));
    const issue = async (role: JoinRole, id: string, days = 1) =>
      await authority.issueMember({ role, id, csrPem: await newCsr(newKeyPem(), id), days });
    const host = await issue("host", "h1");
    const record = { id: "h1", name: "box", keySha256: host.keySha256 };
    const from = (pem: string, authorizationError?: string) =>
      request(undefined, {
        getPeerX509Certificate: () => new X509Certificate(pem),
        authorized: authorizationError === undefined,
        authorizationError,
      });
    const store = kept({ [keys.host("h1")]: record, [keys.router("r1")]: { ...record, id: "r1", name: "edge" } });
    const { validFromDate, validToDate } = new X509Certificate(host.certificate);
    const certificate = { notBefore: validFromDate.toISOString(), notAfter: validToDate.toISOString() };
    const shown = { name: "host box", role: "host", id: "h1", keySha256: host.keySha256 } as const;
    const caller = { kind: "member", ...shown, certificate } as const;
    const again = from(host.certificate);
    assert.equal(identify(again, store), caller);
    assert.equal(identify(again, store), caller);
    const gone = "unauthenticated the certificate of host h1 is not good any more; join again";
    assert.is(
      refusal(() => identify(again, kept())),
      gone,
      "removed meanwhile, on the same connection",
    );
    const other = kept({ [keys.host("h1")]: { ...record, keySha256: "another" } });
    assert.is(
      refusal(() => identify(from(host.certificate), other)),
      gone,
    );
    const stranger = await issue("router", "h1");
    assert.match(
      refusal(() => identify(from(stranger.certificate), store)),
      /^unauthenticated the certificate of router h1 is not good/,
    );
    assert.is(
      refusal(() => identify(from(host.certificate, "SELF_SIGNED"), store)),
      "unauthenticated the client's certificate is not of this cluster: SELF_SIGNED",
    );
    const old = await issue("host", "h1", -1 / 48);
    for (const problem of ["CERT_HAS_EXPIRED", undefined])
      assert.match(
        refusal(() => identify(from(old.certificate, problem), kept({ [keys.host("h1")]: { ...record, ...old } }))),
        /^unauthenticated the certificate of host h1 expired at \d{4}-.*it can join again with a new join token$/,
      );

    const written: unknown[] = [];
    const next = { keySha256: host.keySha256, publicKeyPem: host.publicKeyPem };
    const renewing = {
      ...kept({ [keys.host("h1")]: { ...record, keySha256: "before", next } }),
      commit: async (commit: unknown) => void written.push(commit),
    } as unknown as Store;
    assert.equal(identify(from(host.certificate), renewing), caller);
    const keyIssuedAt = new Date(validFromDate.getTime() + SKEW_MS).toISOString();
    assert.equal(written, [
      {
        actor: "renewal of h1",
        expect: [{ key: keys.host("h1"), version: 1 }],
        mutations: [{ key: keys.host("h1"), value: { ...record, keyIssuedAt } }],
      },
    ]);
  }));

test("a router's or boot server's key before the last one is kept for an hour, for what it signed just before", () => {
  const record: MemberRecord = { id: "b1", name: "b", keySha256: "k1", publicKeyPem: "pem 1", joinedAt: "" };
  const written: { mutations: { value: MemberRecord }[] }[] = [];
  const store = { commit: async (commit: never) => void written.push(commit) } as unknown as Store;
  const renew = (value: MemberRecord) => useNextKey(store, { key: keys.bootServer("b1"), value, version: 4 }, 1_000);
  renew(record);
  assert.equal(written, [], "nothing is next");
  const before = Date.now();
  renew({ ...record, next: { keySha256: "k2", publicKeyPem: "pem 2" } });
  const after = Date.now();
  const value = written[0]!.mutations[0]!.value;
  const until = Date.parse(value.former!.until);
  assert.ok(until >= before + 3_600_000 && until <= after + 3_600_000);
  assert.equal(value, {
    ...record,
    keySha256: "k2",
    publicKeyPem: "pem 2",
    keyIssuedAt: "1970-01-01T00:00:01.000Z",
    former: { publicKeyPem: "pem 1", until: value.former!.until },
  });
  assert.equal(grantKeys(value, new Date(until - 1)), ["pem 2", "pem 1"]);
  assert.equal(grantKeys(value, new Date(until)), ["pem 2"]);
  const next = { keySha256: "k3", publicKeyPem: "pem 3" };
  assert.equal(grantKeys({ ...value, next }, new Date(until - 1)), ["pem 2", "pem 3", "pem 1"]);
  assert.equal(grantKeys(record, new Date()), ["pem 1"]);
});

test.run();
