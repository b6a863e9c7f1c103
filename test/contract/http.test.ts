// time limit: 120 s
// What HTTP promises of every path (RFC 9110), tried over the list of endpoints: HEAD wherever GET, 405 with Allow, 304, a Location that
// can be read, and an Idempotency-Key that counts or is refused.
import { randomUUID } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Agent, request } from "node:https";
import { text } from "node:stream/consumers";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Endpoint } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { getHost, listHosts } from "#api/hosts.ts";
import { newCsr, newKeyPem } from "#lib/x509.ts";
import { archive } from "../control/builds/world.ts";
import { type Rig, withRig } from "../control/rig.ts";
import { makeCertificate } from "../control/routing/certificates.ts";

interface Asked {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}
interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}
type Ask = (path: string, asked?: Asked) => Promise<Answer>;

async function withAsk(body: (ask: Ask, rig: Rig) => Promise<void>): Promise<void> {
  await withRig(
    async (rig) => {
      const agent = new Agent({ keepAlive: true, ca: rig.caPem });
      const ask: Ask = (path, { method = "GET", headers = {}, body: sent } = {}) =>
        new Promise((resolve, reject) => {
          const all = {
            authorization: `Bearer ${rig.token}`,
            ...(sent === undefined
              ? {}
              : { "content-type": "application/json", "content-length": String(sent.length) }),
            ...headers,
          };
          const asked = request(`${rig.url}${path}`, { method, agent, headers: all }, (reply) => {
            text(reply).then(
              (received) => resolve({ status: reply.statusCode!, headers: reply.headers, body: received }),
              reject,
            );
          });
          asked.on("error", reject);
          asked.end(sent);
        });
      try {
        await body(ask, rig);
      } finally {
        agent.destroy();
      }
    },
    { loops: false },
  );
}

const post = (body: object): Asked => ({ method: "POST", body: JSON.stringify(body) });
const places = new Set(controlEndpoints().map(({ path }) => path));
const pathOf = (path: string): string => path.replace(/:[a-zA-Z]+/g, "nothing");
const codeOf = ({ body }: Answer): string | undefined => (JSON.parse(body || "{}") as { code?: string }).code;
const isOfPeople = ({ permission }: Endpoint): boolean => permission.includes(":") || permission === "public";

/** What everything else is made of. */
async function someOfAll(ask: Ask, rig: Rig): Promise<void> {
  const service = await ask("/v1/services", post({ name: "hello", image: "hello:1" }));
  assert.is(service.status, 202, service.body);
  await rig.admin.call(controlEndpoints().find(({ id }) => id === "createApp")!, { body: { name: "other" } } as never);
}

test("each path answers 405 with Allow to a method that it does not take, and HEAD as it answers GET", () =>
  withAsk(async (ask) => {
    for (const place of places) {
      // Those of every pattern that the path fits: /v1/hosts/join is a host's too.
      const taken = controlEndpoints()
        .filter(({ path }) => new RegExp(`^${path.replace(/:[a-zA-Z]+/g, "[^/]+")}$`).test(pathOf(place)))
        .map(({ method }): string => method);
      const allowed = [...taken, ...(taken.includes("GET") ? ["HEAD"] : [])].sort().join(", ");
      for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
        if (taken.includes(method) || (method === "HEAD" && taken.includes("GET"))) continue;
        const answer = await ask(pathOf(place), { method });
        assert.is(answer.status, 405, `${method} ${place}: ${answer.status} ${answer.body}`);
        assert.is(answer.headers["allow"], allowed, `${method} ${place}`);
        assert.is(codeOf(answer), method === "HEAD" ? undefined : "method-not-allowed");
      }
      if (!taken.includes("GET")) continue;
      const [got, head] = [await ask(pathOf(place)), await ask(pathOf(place), { method: "HEAD" })];
      assert.is(head.status, got.status, `HEAD ${place}`);
      assert.is(head.body, "");
      assert.is(head.headers["content-type"], got.headers["content-type"]);
    }
    const nowhere = await ask("/v1/nowhere", { method: "PUT" });
    assert.is(nowhere.status, 404);
    assert.is(codeOf(nowhere), "not-found");
    assert.is(nowhere.headers["allow"], undefined);
  }));

test("HEAD of a stream ends at once, and has the headers of the list", () =>
  withAsk(async (ask) => {
    const head = await ask("/v1/events", { method: "HEAD", headers: { accept: "text/event-stream" } });
    assert.is(head.status, 200);
    assert.ok(Number(head.headers["content-length"]) > 0);
  }));

test("who has an object as it is gets 304 without a body, and the whole of it once anything of it is other", () =>
  withAsk(async (ask, rig) => {
    await someOfAll(ask, rig);
    const certificate = await makeCertificate({ names: ["a.test"], from: new Date(), days: 30 });
    const body = { chain: certificate.certificate, key: certificate.key };
    assert.is((await ask("/v1/certificates", post(body))).status, 201);
    await rig.join("host");
    await rig.admin.call(listHosts);
    const route = await ask("/v1/routes", post({ app: "hello", domain: "a.test" }));
    const withVersions = [
      "/v1/apps/hello",
      "/v1/apps/hello/env",
      "/v1/apps/hello/pages",
      "/v1/services/hello",
      "/v1/certificates/a.test",
      "/v1/hosts/host",
      "/v1/profiles/default",
      String(route.headers["location"]),
    ];
    for (const path of withVersions) {
      const whole = await ask(path);
      assert.is(whole.status, 200, `${path}: ${whole.body}`);
      const etag = whole.headers["etag"];
      if (etag === undefined) {
        assert.is(path, "/v1/apps/hello/pages", "of pages there are none yet");
        continue;
      }
      for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, "*"])
        for (const method of ["GET", "HEAD"]) {
          const same = await ask(path, { method, headers: { "if-none-match": tag } });
          assert.is(same.status, 304, `${method} ${path} ${tag}`);
          assert.is(same.body, "");
          assert.is(same.headers["etag"], etag);
          assert.type(same.headers["x-request-id"], "string");
        }
      assert.is((await ask(path, { headers: { "if-none-match": '"1"' } })).status, 200, path);
    }
    // What is not in the record counts too: the host is heard for the first time.
    const host = await rig.host("h9");
    const before = (await ask(`/v1/hosts/${host.id}`)).headers["etag"]!;
    await host.report();
    const after = await ask(`/v1/hosts/${host.id}`, { headers: { "if-none-match": before } });
    assert.is(after.status, 200, "it is another state");
    assert.is.not(after.headers["etag"], before);
    // An ETag that a GET gave is one that a change takes.
    const { etag } = await rig.admin.read(getHost, { params: { id: host.id } });
    const tagged = { method: "PATCH", body: '{"tags":{"a":"b"}}', headers: { "if-match": etag! } };
    assert.is((await ask(`/v1/hosts/${host.id}`, tagged)).status, 200);
    assert.is((await ask(`/v1/hosts/${host.id}`, tagged)).status, 412);
  }));

/** Secrets told once, or parts of something else: there is nothing to be read later. */
const NO_LOCATION = ["createJoinToken", "joinCluster", "createSession", "createConsoleSession", "uploadStackImage"];

test("what a POST made is where its Location says, and every 201 has one", () =>
  withAsk(async (ask, rig) => {
    await someOfAll(ask, rig);
    const made = controlEndpoints().filter(({ status, method }) => method === "POST" && status === 201);
    const without = made.filter(({ location }) => location === undefined).map(({ id }) => id);
    assert.equal(without.sort(), [...NO_LOCATION].sort(), "POST endpoints that answer 201 without a Location");
    const image = { method: "POST", body: "image", headers: { "content-type": "application/x-tar" } };
    const source = await archive({ Procfile: "web: node ." });
    const certificate = await makeCertificate({ names: ["a.test"], from: new Date(), days: 30 });
    const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKUq8BW/6OaWQsvyMR9Xr0dsFLbNXHC0hSlS8Uxwm4K4 ann@laptop";
    const requests: Record<string, [string, Asked]> = {
      createApp: ["/v1/apps", post({ name: "third" })],
      createRelease: ["/v1/apps/hello/releases", post({ env: { A: "1" } })],
      createDeployment: ["/v1/apps/hello/deployments", post({ release: "v1" })],
      rollbackApp: ["/v1/apps/hello/rollback", post({ release: "v1" })],
      createJob: ["/v1/apps/hello/jobs", post({ release: "v1", command: ["true"] })],
      createExternalService: ["/v1/external-services", post({ name: "legacy", address: "192.0.2.10", port: 5432 })],
      createRoute: ["/v1/routes", post({ app: "hello", domain: "b.test" })],
      createToken: ["/v1/tokens", post({ name: "ci", permissions: ["app:read"] })],
      createService: ["/v1/services", post({ name: "fourth", image: "hello:1" })],
      createNetworkRule: ["/v1/network-rules", post({ from: { name: "hello" }, to: { name: "other" } })],
      createCertificate: ["/v1/certificates", post({ chain: certificate.certificate, key: certificate.key })],
      addKey: ["/v1/keys", post({ publicKey: key })],
      createLogDrain: ["/v1/log-drains", post({ url: "https://logs.example.com/" })],
      createAppLogDrain: ["/v1/apps/hello/log-drains", post({ url: "https://logs.example.com/" })],
      createArtifact: ["/v1/artifacts?app=hello", image],
      createBuild: ["/v1/apps/hello/builds", { ...image, body: source }],
    };
    // Made of files of their own, and tried there: boot images, disks, repositories, BMCs.
    const elsewhere = ["registerBootImage", "wipeMachineDisk", "startMachineWipe", "redeploy", "orderPower"];
    const located = controlEndpoints().filter(({ location }) => location !== undefined);
    assert.equal([...Object.keys(requests), ...elsewhere].sort(), located.map(({ id }) => id).sort());
    for (const { id, status } of located) {
      const [path, asked] = requests[id] ?? [];
      if (path === undefined) continue;
      const answer = await ask(path, asked);
      assert.is(answer.status, status, `${id}: ${answer.body}`);
      const location = answer.headers["location"];
      assert.type(location, "string", id);
      const found = await ask(location!);
      assert.is(found.status, 200, `${id}: ${location} ${found.body}`);
      const name = (of: string) => (JSON.parse(of) as { id?: string; name?: string }).id ?? JSON.parse(of).name;
      assert.is(name(found.body), name(answer.body), `${id}: ${location} is something else`);
    }
    for (const { id, location } of located) {
      const shape = location!.replace(/:[a-zA-Z]+|\{[a-zA-Z]+\}/g, ":x");
      const read = controlEndpoints().some(
        ({ method, path }) => method === "GET" && path.replace(/:[a-zA-Z]+/g, ":x") === shape,
      );
      assert.ok(read, `${id}: no endpoint reads ${location}`);
    }
  }));

test("an object of each list can be read by itself", () => {
  const reads = controlEndpoints().filter(({ method }) => method === "GET");
  const lists = reads.filter(
    ({ reply, query }) =>
      "items" in ((reply as { properties?: object }).properties ?? {}) && JSON.stringify(query).includes('"cursor"'),
  );
  // Entries of something else: what happened, and hosts under another view.
  const ofOthers = ["listEvents", "machineTimeline", "listNetworkHosts"];
  const single = new Set(reads.map(({ path }) => path.replace(/:[a-zA-Z]+/g, ":x")));
  const alone: Record<string, string> = { "/v1/apps/:x/jobs/:x": "/v1/jobs/:x" };
  const missing = lists
    .filter(({ id }) => !ofOthers.includes(id))
    .filter(({ path }) => {
      const one = `${path.replace(/:[a-zA-Z]+/g, ":x")}/:x`;
      return !single.has(alone[one] ?? one);
    });
  assert.equal(
    missing.map(({ id }) => id),
    [],
  );
});

/** Each makes what a second one would make again: nothing is kept by them, or their own content says that they are the same. */
const MAKES_NO_SECOND = [
  "createConsoleSession", // a ticket that opens one session, good for 30 s
  "createSession", // the same
  "joinCluster", // its token is good once
];

test("an Idempotency-Key is taken by every POST of people that makes something, and refused in words by all else", () =>
  withAsk(async (ask) => {
    const makes = controlEndpoints().filter(({ method, status }) => method === "POST" && status === 201);
    const unkeyed = makes.filter(({ idempotent }) => !idempotent).map(({ id }) => id);
    assert.equal(unkeyed.sort(), [...MAKES_NO_SECOND].sort());
    for (const { id, method, path } of controlEndpoints().filter((each) => isOfPeople(each) && !each.idempotent)) {
      const { body: schema } = controlEndpoints().find((each) => each.id === id)!;
      const body = bodies[id] ?? "{}";
      const answer = await ask(pathOf(path) + (queries[id] ?? ""), {
        method,
        headers: { "idempotency-key": "once" },
        ...(schema === undefined ? {} : { body }),
      });
      assert.is(answer.status, 400, `${id}: ${answer.status} ${answer.body}`);
      assert.match(answer.body, /takes no Idempotency-Key/, id);
    }
  }));
const bodies: Record<string, string> = {
  decideQuarantine: '{"decision":"keep"}',
  adoptMachine: '{"card":"nothing"}',
  putProfile:
    '{"name":"nothing","image":"current","cmdline":[],"tags":{},"sshKeys":[],"diskPolicy":{"name":"ram","mode":"ram"}}',
  updateEnv: '{"env":{}}',
  setStack: JSON.stringify({
    name: "x",
    builder: `sha256:${"0".repeat(64)}`,
    runner: `sha256:${"0".repeat(64)}`,
  }),
  createSession: '{"kind":"attach"}',
  putMachineBmc: '{"kind":"wake"}',
  updateCertificate: '{"chain":"x","key":"x"}',
};
const queries: Record<string, string> = { forwardJob: "?port=1" };

test("an upload sent twice with one key is one object, and another upload with that key is a conflict", () =>
  withAsk(async (ask, rig) => {
    await someOfAll(ask, rig);
    const [one, other] = [await archive({ Procfile: "web: node ." }), await archive({ Procfile: "web: node a.js" })];
    for (const path of ["/v1/apps/hello/builds", "/v1/artifacts?app=hello", "/v1/stack/images?part=builder"]) {
      const headers = { "content-type": "application/x-tar", "idempotency-key": randomUUID() };
      const send = (body: Buffer) => ask(path, { method: "POST", body, headers });
      const [first, second] = [await send(one), await send(one)];
      assert.ok(first.status < 300, first.body);
      assert.is(second.status, first.status);
      assert.equal(JSON.parse(second.body), JSON.parse(first.body), path);
      const third = await send(Buffer.concat([other, Buffer.alloc(10_240)]));
      assert.is(codeOf(third), "conflict", `${path}: ${third.body}`);
    }
    const join = { token: "fjt_x", role: "host", name: "h", csr: await newCsr(newKeyPem(), "h") };
    const keyed = await ask("/v1/hosts/join", { ...post(join), headers: { "idempotency-key": "once" } });
    assert.match(keyed.body, /takes no Idempotency-Key/);
  }));

test("a refusal that may be worth another try says after how many seconds", () =>
  withAsk(async (ask, rig) => {
    await someOfAll(ask, rig);
    let answer: Answer;
    let left = 200;
    do answer = await ask("/v1/apps/hello/jobs", post({ release: "v1", command: ["true"] }));
    while (answer.status === 201 && left-- > 0);
    assert.is(codeOf(answer), "rate-limited", answer.body);
    assert.is((JSON.parse(answer.body) as { retry: boolean }).retry, true);
    assert.match(String(answer.headers["retry-after"]), /^[1-9]\d?$/);
    assert.is((await ask("/v1/apps/nobody")).headers["retry-after"], undefined);
  }));

test.run();
