// Hostile and careless requests: each gets one plain sentence in the one shape of errors, and changes nothing.
import { request } from "node:https";
import { text } from "node:stream/consumers";
import { connect } from "node:tls";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, getApp, listApps, updateApp } from "#api/apps.ts";
import { FAULTS, type FaultCode } from "#api/fault.ts";
import { createRoute } from "#api/routes.ts";
import { type Rig, withRig } from "./rig.ts";

interface Answer {
  status: number;
  body: { code: FaultCode; message: string; requestId: string; retry: boolean; details?: { field?: string } };
  headers: Record<string, string | string[] | undefined>;
}

function send(
  { url, caPem, token }: Rig,
  method: string,
  path: string,
  body?: string | Buffer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = {
      authorization: `Bearer ${token}`,
      ...(body === undefined
        ? {}
        : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
      ...headers,
    };
    const asked = request(`${url}${path}`, { method, ca: caPem, headers: all, agent: false }, async (reply) => {
      const said = await text(reply).catch(reject);
      try {
        resolve({ status: reply.statusCode!, body: JSON.parse(said || "{}"), headers: reply.headers });
      } catch {
        reject(new Error(`not JSON: ${said}`));
      }
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

function refused(answer: Answer, code: FaultCode, message: RegExp): void {
  assert.is(answer.body.code, code, JSON.stringify(answer.body));
  assert.is(answer.status, FAULTS[code].status);
  assert.match(answer.body.message, message);
  assert.type(answer.body.requestId, "string");
  assert.is(answer.headers["x-request-id"], answer.body.requestId);
  assert.type(answer.body.retry, "boolean");
  const extra = Object.keys(answer.body).filter(
    (name) => !["code", "message", "details", "requestId", "retry"].includes(name),
  );
  assert.equal(extra, []);
  assert.not.match(answer.body.message, /[\u0000-\u001f\u007f]/);
}

const quiet = { loops: false };

const NAMES = [
  ";$(id)",
  "`id`",
  "a;b",
  "a b",
  "a\nb",
  "a\u0000b",
  "../x",
  "a/b",
  "..",
  "-rf",
  "--help",
  "a--",
  "A",
  "1a",
  "",
  "a".repeat(31),
  "a".repeat(100_000),
  "\u0430pp",
  "app\u200b",
  "ａpp",
  "app\u202e",
  "app.",
  "a_b",
  "{{a}}",
  "%00",
  "app\r\nx: y",
];

test("names with shell, path, control or look-alike characters are refused wherever a name is taken", () =>
  withRig(async (rig) => {
    for (const name of NAMES) {
      refused(await send(rig, "POST", "/v1/apps", JSON.stringify({ name })), "invalid", /name/);
      refused(await send(rig, "POST", "/v1/services", JSON.stringify({ name, image: "x" })), "invalid", /name/);
    }
    for (const name of ["www", "api", "dashboard", "control"])
      refused(await send(rig, "POST", "/v1/apps", JSON.stringify({ name })), "invalid", /reserved/);
    refused(await send(rig, "POST", "/v1/services", '{"name":"www","image":"x"}'), "invalid", /reserved/);
    assert.equal((await rig.admin.call(listApps)).items, []);
  }, quiet));

test("names of processes, variables and tags are checked too, not passed over", () =>
  withRig(async (rig) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    const release = (body: unknown) => send(rig, "POST", "/v1/apps/hello/releases", JSON.stringify(body));
    for (const name of ["$(id)", "../web", "WEB", "web web", "constructor", "a".repeat(31)])
      refused(await release({ processes: { [name]: { port: 80 } } }), "invalid", /not a valid name in processes/);
    for (const name of ["A B", "A=B", "A\nB", "1A", "", "A".repeat(129), "Ä"])
      refused(await release({ env: { [name]: "x" } }), "invalid", /not a valid name in env/);
    refused(await release({ env: { A: "x\u0000y" } }), "invalid", /env.A is not valid/);
    refused(await release({ env: { A: "x".repeat(8193) } }), "invalid", /env.A is longer than 8192/);
    const big = Object.fromEntries(["A", "B", "C"].map((name) => [name, "x".repeat(5_000)]));
    refused(await release({ env: big }), "too-large", /12 KiB/);
    refused(await release({ env: { PORT: "1" } }), "invalid", /PORT is set by the platform/);
    refused(await release({ processes: { web: { port: 80, memoryBytes: 1e300 } } }), "invalid", /at most/);
    refused(await release({ processes: { web: { port: "80" } } }), "invalid", /port must be an integer/);
    const host = await rig.join("host");
    for (const tags of [{ "a b": "x" }, { a: "$(id)" }, { a: "x\ny" }, { a: 1 }])
      refused(await send(rig, "PATCH", `/v1/hosts/${host.id}`, JSON.stringify({ tags })), "invalid", /tags/);
  }, quiet));

test("a field nobody knows is named in plain words, in every kind of request", () =>
  withRig(async (rig) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    const unknown = /"teamId" is not a field of this request/;
    refused(await send(rig, "POST", "/v1/apps", '{"name":"a","teamId":1}'), "invalid", unknown);
    refused(await send(rig, "PATCH", "/v1/apps/hello", '{"teamId":1}'), "invalid", unknown);
    refused(await send(rig, "PATCH", "/v1/apps/hello", '{"id":"x"}'), "invalid", /"id" is not a field/);
    refused(await send(rig, "DELETE", "/v1/apps/hello", '{"teamId":1}'), "invalid", /takes no body/);
    refused(await send(rig, "GET", "/v1/apps?teamId=1"), "invalid", /"teamId" is not a field of this query/);
    refused(await send(rig, "GET", "/v1/apps?limit=many"), "invalid", /limit must be an integer/);
    refused(await send(rig, "GET", "/v1/apps?limit=0"), "invalid", /limit must be at least 1/);
    refused(await send(rig, "GET", "/v1/apps?limit=100000"), "invalid", /limit must be at most 1000/);
    refused(await send(rig, "POST", "/v1/join-tokens", "{}"), "invalid", /role is missing/);
    refused(
      await send(rig, "POST", "/v1/join-tokens", '{"role":"king"}'),
      "invalid",
      /role must be one of host, router, boot/,
    );
    refused(
      await send(rig, "PATCH", "/v1/apps/hello", '{"strategy":"yolo"}'),
      "invalid",
      /one of rolling, all-at-once/,
    );
    assert.is((await rig.admin.call(getApp, { params: { app: "hello" } })).strategy, "rolling");
  }, quiet));

test("bodies that are broken, huge, deep, of another type or poisoned are refused", () =>
  withRig(async (rig) => {
    const post = (body: string | Buffer, headers = {}) => send(rig, "POST", "/v1/apps", body, headers);
    for (const body of ["{", "[1", "nul", '{"name":"a"', "\u0000", '{"name":"a"}x', "{'name':'a'}"])
      refused(await post(body), "invalid", /not JSON/);
    for (const body of ["[]", "1", '"a"', "true"]) refused(await post(body), "invalid", /the body must be an object/);
    refused(await post('{"name":["a"]}'), "invalid", /name must be a string/);
    refused(await post(Buffer.alloc(10 << 20, 32)), "too-large", /larger than 1 MiB/);
    const deep = 100_000;
    refused(await post(`{"name":${"[".repeat(deep)}${"]".repeat(deep)}}`), "invalid", /name must be a string/);
    refused(await post('{"__proto__":{"admin":true}}'), "invalid", /never allowed \(__proto__/);
    refused(await post('{"constructor":{"prototype":{"admin":true}}}'), "invalid", /never allowed/);
    refused(await post('{"constructor":1}'), "invalid", /"constructor" is not a field/);
    refused(await post('{"toString":1}'), "invalid", /"toString" is not a field/);
    for (const type of ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/x-tar", "x"])
      refused(
        await post('{"name":"a"}', { "content-type": type }),
        "invalid",
        /content-type is to be application\/json/,
      );
    refused(
      await send(rig, "POST", "/v1/artifacts?app=a", "{}"),
      "invalid",
      /content-type is to be application\/x-tar/,
    );
    assert.is(({} as { admin?: boolean }).admin, undefined);
    assert.equal((await rig.admin.call(listApps)).items, []);
  }, quiet));

test("paths, cursors and headers that are not sound are refused in the same shape", () =>
  withRig(async (rig) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    refused(await send(rig, "GET", "/v1/apps/%00"), "invalid", /app is not valid/);
    refused(await send(rig, "GET", "/v1/apps/..%2f..%2fetc"), "invalid", /app is not valid/);
    refused(await send(rig, "GET", "/v1/apps/%zz"), "invalid", /path is not sound/);
    refused(await send(rig, "GET", `/v1/apps/${"a".repeat(100)}`), "invalid", /longer than 64/);
    refused(await send(rig, "GET", "/v1/nothing"), "not-found", /not an endpoint/);
    refused(await send(rig, "PUT", "/v1/apps"), "method-not-allowed", /takes GET, HEAD, POST, not PUT/);
    refused(await send(rig, "GET", "/v1/apps/nobody"), "not-found", /no app nobody/);
    for (const cursor of ["%21%21", "a", "..."])
      refused(await send(rig, "GET", `/v1/apps?cursor=${cursor}`), "invalid", /cursor/);
    for (const etag of ["abc", 'W/"3"', '"1", "2"', "0", "-1", "9".repeat(30)])
      refused(
        await send(rig, "PATCH", "/v1/apps/hello", '{"strategy":"rolling"}', { "if-match": etag }),
        "invalid",
        /If-Match/,
      );
    refused(
      await send(rig, "PATCH", "/v1/apps/hello", "{}", { "if-match": '"999999"' }),
      "precondition",
      /has changed/,
    );
    refused(
      await send(rig, "DELETE", "/v1/apps/hello", undefined, { "if-match": '"999999"' }),
      "precondition",
      /has changed/,
    );
    refused(await send(rig, "POST", "/v1/apps", "{}", { "idempotency-key": "a b" }), "invalid", /Idempotency-Key/);
    refused(await send(rig, "GET", "/v1/apps", undefined, { authorization: "Basic eDp5" }), "unauthenticated", /token/);
    assert.is(
      (await send(rig, "GET", "/v1/apps", undefined, { "x-request-id": "my-request-1" })).headers["x-request-id"],
      "my-request-1",
    );
    const odd = (await send(rig, "GET", "/v1/apps", undefined, { "x-request-id": "<script>" })).headers["x-request-id"];
    assert.match(String(odd), /^[0-9a-f-]{36}$/);
  }, quiet));

test("what is not HTTP at all gets an answer of the same shape and takes nobody down", () =>
  withRig(async (rig) => {
    const said = await new Promise<string>((resolve, reject) => {
      const socket = connect({ port: rig.config.port, host: "127.0.0.1", ca: rig.caPem, servername: "localhost" }, () =>
        socket.end("\u0000\u0001 garbage\r\n\r\n"),
      );
      let all = "";
      socket.on("data", (chunk) => {
        all += chunk;
      });
      socket.on("close", () => resolve(all)).on("error", reject);
    });
    assert.match(said, /^HTTP\/1.1 400 /);
    assert.is(JSON.parse(said.split("\r\n\r\n")[1]!).code, "invalid");
    assert.is((await send(rig, "GET", "/healthz")).status, 200);
  }, quiet));

test("hostile domains and paths of routes never get in, and none of them takes long to refuse", () =>
  withRig(async (rig) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    const route = (body: object) => send(rig, "POST", "/v1/routes", JSON.stringify({ app: "hello", ...body }));
    const domains = [
      "a b.c",
      "{{x}}",
      "`id`.com",
      "a\r\nb.com",
      "x.*.com",
      "**",
      "*",
      ".com",
      "a..b",
      "-a.com",
      "a-.com",
      "A.com",
      "é.com",
      "a.com/x",
      "a:80",
      "[::1]",
      `${"a".repeat(64)}.com`,
      `${"a.".repeat(130)}com`,
      "(a+)+$",
      "a%0d%0a",
    ];
    for (const domain of domains) refused(await route({ domain }), "invalid", /domain/);
    for (const path of [
      "x",
      "/../x",
      "/x/..",
      "/./x",
      "/a b",
      "/a\nb",
      "/%2e",
      "/{x}",
      "//",
      `/${"a".repeat(198)}!`,
      `/${"a/".repeat(90)}!`,
    ])
      refused(await route({ domain: "a.com", path }), "invalid", /path/);
    // A pattern that tries every way through the last two would not have answered before the file's limit.
    assert.is((await route({ domain: "a.com", path: "/v1/x.y_z~" })).status, 201);
    assert.is((await route({ domain: "*.a.com" })).status, 201);
  }, quiet));

test("a domain of another app is refused without telling whose it is", () =>
  withRig(async (rig) => {
    for (const name of ["first", "second"]) await rig.admin.call(createApp, { body: { name } });
    await rig.admin.call(createRoute, { body: { app: "first", domain: "a.com" } });
    const answer = await send(rig, "POST", "/v1/routes", '{"app":"second","domain":"a.com","path":"/x"}');
    refused(answer, "conflict", /taken by another app/);
    assert.not.match(JSON.stringify(answer.body), /first/);
    refused(await send(rig, "POST", "/v1/routes", '{"app":"first","domain":"a.com"}'), "conflict", /exists already/);
  }, quiet));

test("a repeated Idempotency-Key makes one object and one answer; with another body it is a conflict", () =>
  withRig(async (rig) => {
    const headers = { "idempotency-key": "key-1" };
    const first = await send(rig, "POST", "/v1/apps", "{}", headers);
    const again = await send(rig, "POST", "/v1/apps", "{}", headers);
    assert.is(first.status, 201);
    assert.equal(again.body, first.body);
    assert.is(again.headers["location"], first.headers["location"]);
    refused(await send(rig, "POST", "/v1/apps", '{"name":"other"}', headers), "conflict", /another request/);
    assert.is((await rig.admin.call(listApps)).items.length, 1);
    const { name } = (await rig.admin.call(listApps)).items[0]!;
    const route = JSON.stringify({ app: name, domain: "a.com" });
    const made = await send(rig, "POST", "/v1/routes", route, headers); // the key is per endpoint
    assert.is(made.status, 201);
    assert.equal((await send(rig, "POST", "/v1/routes", route, headers)).body, made.body);
    const release = await send(rig, "POST", `/v1/apps/${name}/releases`, '{"env":{"A":"1"}}', headers);
    assert.equal(
      (await send(rig, "POST", `/v1/apps/${name}/releases`, '{"env":{"A":"1"}}', headers)).body,
      release.body,
    );
    const token = await send(rig, "POST", "/v1/join-tokens", '{"role":"host"}', headers);
    assert.is(token.status, 201);
    refused(await send(rig, "POST", "/v1/join-tokens", '{"role":"host"}', headers), "conflict", /shown before/);
    await rig.restart();
    assert.equal((await send(rig, "POST", "/v1/apps", "{}", headers)).body, first.body);
    assert.equal((await send(rig, "POST", "/v1/routes", route, headers)).body, made.body);
  }, quiet));

test("a stale ETag loses, a fresh one wins, and lists page to their end exactly once", () =>
  withRig(async (rig) => {
    for (let n = 0; n < 25; n++) await rig.admin.call(createApp, { body: { name: `app-${n}` } });
    const shown = await send(rig, "GET", "/v1/apps/app-3");
    const etag = String(shown.headers["etag"]);
    const patch = (ifMatch: string) =>
      send(rig, "PATCH", "/v1/apps/app-3", '{"strategy":"all-at-once"}', { "if-match": ifMatch });
    const changed = await patch(etag);
    assert.is(changed.status, 200);
    refused(await patch(etag), "precondition", /has changed/);
    assert.is((await patch(String(changed.headers["etag"]))).status, 200);
    const names = new Set<string>();
    let cursor: string | undefined;
    do {
      const page = await rig.admin.call(listApps, { query: { limit: 10, cursor } });
      for (const { name } of page.items) names.add(name);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    assert.is(names.size, 25);
    await rig.admin.call(updateApp, { params: { app: "app-1" }, body: {} });
  }, quiet));

test.run();
