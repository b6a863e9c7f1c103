// time limit: 180 s
// Abuse of the API, from the endpoint list as far as it goes: an endpoint or a field that is new is attacked as well, or fails here
// until somebody has said what it may hold. None of all this starts a program or writes a record.
import { subscribe } from "node:diagnostics_channel";
import { Agent, request } from "node:https";
import { text } from "node:stream/consumers";
import { Ajv } from "ajv";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createApp, getApp, listReleases } from "#api/apps.ts";
import { type Profile, putProfile } from "#api/boot.ts";
import type { Endpoint } from "#api/endpoint.ts";
import { controlEndpoints } from "#api/endpoints.ts";
import { FAULTS, type Fault, type FaultCode } from "#api/fault.ts";
import { openapi } from "#api/openapi/document.ts";
import { createRoute } from "#api/routes.ts";
import { createService } from "#api/services.ts";
import { sha256Hex } from "../../control/identity/principal.ts";
import { keys } from "../../control/keys.ts";
import type { TokenRecord } from "../../control/records.ts";
import type { LogRecord } from "../../control/store/log.ts";
import { type Member, type Rig, withRig } from "./rig.ts";

const started: unknown[] = [];
subscribe("child_process", (message) => started.push(message));

const quiet = { loops: false };
const NAMES = [
  ";$(id)",
  "`id`",
  "a\nb",
  "a\u0000b",
  "../../etc/passwd",
  "--upload-pack=id",
  "-rf",
  "\u0430pp",
  "a b",
  "a".repeat(65),
  "__proto__",
];

interface Answer {
  status: number;
  code: FaultCode | undefined;
  message: string;
}

interface Caller {
  ask(endpoint: Endpoint, sent?: Sent): Promise<Answer>;
}

interface Sent {
  /** Path parameters as they are to arrive; any other is the caller's own id, or `nothing`. */
  params?: Record<string, string>;
  query?: string;
  body?: string | Buffer;
  headers?: Record<string, string>;
}

const isOfPeople = ({ permission }: Endpoint): boolean => permission.includes(":");
const isJson = ({ body, upload }: Endpoint): boolean => body !== undefined && upload === undefined;
const fieldsOf = (schema: unknown): string[] => Object.keys((schema as { properties?: object }).properties ?? {});

/** Who asks as whoever an endpoint is for: the admin, or a host, router or boot server of its own. */
async function withCaller(body: (caller: Caller, rig: Rig) => Promise<void>): Promise<void> {
  await withRig(async (rig) => {
    const members: Record<string, Member> = {
      agent: await rig.join("host"),
      router: await rig.join("router"),
      boot: await rig.join("boot"),
    };
    members["member"] = members["agent"]!;
    const agents = new Map<string, Agent>();
    const agentOf = ({ permission }: Endpoint): Agent => {
      const member = members[permission];
      const key = member?.id ?? "admin";
      const made =
        agents.get(key) ?? new Agent({ keepAlive: true, ca: rig.caPem, cert: member?.certificate, key: member?.key });
      agents.set(key, made);
      return made;
    };
    const ask: Caller["ask"] = (endpoint, { params = {}, query = "", body: sent, headers = {} } = {}) => {
      const own = members[endpoint.permission]?.id ?? "nothing";
      const path = endpoint.path.replaceAll(/:([a-zA-Z]+)/g, (_all, name: string) =>
        encodeURIComponent(params[name] ?? (name === "id" ? own : "nothing")),
      );
      const all = {
        ...(isOfPeople(endpoint) ? { authorization: `Bearer ${rig.token}` } : {}),
        ...(sent === undefined
          ? {}
          : { "content-type": endpoint.upload ?? "application/json", "content-length": Buffer.byteLength(sent) }),
        ...headers,
      };
      return new Promise((resolve, reject) => {
        const options = { method: endpoint.method, headers: all, agent: agentOf(endpoint) };
        const asked = request(`${rig.url}${path}${query}`, options, (reply) => {
          text(reply).then((said) => {
            const { code, message = "" } = JSON.parse(said || "{}") as Partial<Answer>;
            resolve({ status: reply.statusCode!, code, message });
          }, reject);
        });
        asked.on("error", reject);
        asked.end(sent);
      });
    };
    const written: LogRecord[] = [];
    const programs = started.length;
    rig.store.onDurable((record) => written.push(record));
    try {
      await body({ ask }, rig);
      assert.is(started.length, programs, "control started a program");
      assert.equal(written, [], "a refused request wrote a record");
    } finally {
      for (const agent of agents.values()) agent.destroy();
    }
  }, quiet);
}

function refused(answer: Answer, codes: readonly FaultCode[], what: string): void {
  const said = `${what}: ${answer.status} ${JSON.stringify(answer)}`;
  assert.ok(answer.code !== undefined && codes.includes(answer.code), said);
  assert.is(answer.status, FAULTS[answer.code!].status, said);
  assert.not.match(answer.message, /[\u0000-\u001f\u007f]/, said);
}

test("no hostile text gets through in any parameter of any path", () =>
  withCaller(async ({ ask }) => {
    let asked = 0;
    for (const endpoint of controlEndpoints())
      for (const name of fieldsOf(endpoint.params))
        for (const value of NAMES) {
          const answer = await ask(endpoint, {
            params: { [name]: value },
            ...(isJson(endpoint) ? { body: "{}" } : {}),
          });
          // A member that names another id than its own is not even told whether that is one.
          const codes: FaultCode[] = isOfPeople(endpoint) ? ["invalid", "not-found"] : ["invalid", "forbidden"];
          refused(answer, codes, `${endpoint.id} ${name}=${JSON.stringify(value)}`);
          asked++;
        }
    assert.ok(asked > 600, `${asked}`);
  }));

test("every endpoint with a body refuses what is broken, poisoned, nested without end, of ten megabytes or holds a field too many", () =>
  withCaller(async ({ ask }) => {
    const depth = 100_000;
    const large = Buffer.alloc(10 << 20, " ");
    const endpoints = controlEndpoints().filter(isJson);
    assert.ok(endpoints.length > 30);
    for (const endpoint of endpoints) {
      const [field = "x"] = fieldsOf(endpoint.body);
      const deep = `{${JSON.stringify(field)}:${"[".repeat(depth)}${"]".repeat(depth)}}`;
      const bodies = [
        '{"a"',
        "\u0000",
        "[]",
        "1",
        '"a"',
        `{"__proto__":{"admin":true}}`,
        `{"constructor":{"prototype":{"a":1}}}`,
      ];
      for (const body of [
        ...bodies,
        `{${JSON.stringify(field)}:{"__proto__":{"admin":true}}}`,
        '{"teamId":"x"}',
        deep,
      ]) {
        const answer = await ask(endpoint, { body });
        refused(answer, ["invalid"], `${endpoint.id} ${body.slice(0, 60)}`);
      }
      refused(await ask(endpoint, { body: large }), ["too-large"], `${endpoint.id}, 10 MiB`);
      refused(
        await ask(endpoint, { body: "a=1", headers: { "content-type": "application/x-www-form-urlencoded" } }),
        ["invalid"],
        `${endpoint.id}, a form`,
      );
    }
    assert.is(({} as { admin?: boolean }).admin, undefined);
  }));

test("an endpoint without a body takes none, and none takes a query field that is not its own", () =>
  withCaller(async ({ ask }) => {
    for (const endpoint of controlEndpoints()) {
      if (endpoint.socket) continue;
      const json = isJson(endpoint) ? { body: "{}" } : {};
      const upload = endpoint.upload === undefined ? json : { body: "x" };
      refused(await ask(endpoint, { ...upload, query: "?teamId=1" }), ["invalid"], `${endpoint.id} ?teamId`);
      const poisoned = await ask(endpoint, { ...upload, query: "?__proto__[admin]=1&constructor.prototype.a=1" });
      refused(poisoned, ["invalid"], `${endpoint.id} ?__proto__`);
      if (endpoint.body !== undefined || endpoint.upload !== undefined || endpoint.method === "GET") continue;
      refused(await ask(endpoint, { body: '{"force":true}' }), ["invalid"], `${endpoint.id} with a body`);
    }
  }));

/** What is kept of these is bounded, and they are followed rather than paged: the newest lines, as many as asked for. */
const FOLLOWED = ["appLog", "serviceLog"];

test("no list is without end: a page is 1 to 1000, and a cursor that is none of ours is refused", () =>
  withCaller(async ({ ask }) => {
    const lists = controlEndpoints().filter(({ reply }) => fieldsOf(reply).includes("items"));
    const paged = lists.filter(({ query }) => ["cursor", "limit"].every((field) => fieldsOf(query).includes(field)));
    const others = lists.filter((endpoint) => !paged.includes(endpoint)).map(({ id }) => id);
    assert.equal(others.sort(), [...FOLLOWED].sort(), "a list without pages");
    for (const endpoint of paged) {
      const params = { app: "nothing" };
      for (const limit of ["0", "-1", "1001", "1e9", "99999999999999999999", "many", "", "1;2", "NaN"])
        refused(
          await ask(endpoint, { params, query: `?limit=${limit}` }),
          ["invalid"],
          `${endpoint.id} limit=${limit}`,
        );
      refused(await ask(endpoint, { params, query: `?cursor=${"a".repeat(1_025)}` }), ["invalid"], endpoint.id);
      const garbage = await ask(endpoint, { params, query: "?cursor=%00*" });
      refused(garbage, endpoint.path.includes(":") ? ["not-found"] : ["invalid"], endpoint.id);
    }
    const counted = controlEndpoints().filter(({ query }) => fieldsOf(query).includes("lines"));
    assert.ok(counted.length >= 2);
    for (const endpoint of counted)
      for (const lines of ["-1", "1000000000", "many"])
        refused(await ask(endpoint, { query: `?lines=${lines}` }), ["invalid"], `${endpoint.id} lines=${lines}`);
  }));

/** Of each POST that takes an Idempotency-Key: a body that its schema takes. */
const MADE_BY: Record<string, object> = {
  createApp: {},
  createRelease: {},
  createDeployment: { release: "v1" },
  rollbackApp: {},
  createJob: { process: "web" },
  restartApp: {},
  createService: { name: "hello" },
  createExternalService: { name: "db", address: "10.20.0.5", port: 5432 },
  createRoute: { app: "hello", domain: "a.com" },
  createNetworkRule: { from: { name: "hello" }, to: { name: "other" } },
  createCertificate: { chain: "x", key: "x" },
  createLogDrain: { url: "https://drain.example.com" },
  createAppLogDrain: { url: "https://drain.example.com" },
  createJoinToken: { role: "host" },
  createToken: { name: "ci", permissions: ["app:read"] },
  addKey: { publicKey: "ssh-ed25519 AAAA" },
  registerBootImage: { manifest: "{}", signature: "x" },
  redeploy: {},
  wipeMachineDisk: { fingerprint: "1".repeat(64) },
  startMachineWipe: { fingerprints: ["1".repeat(64)] },
  signalJob: { signal: "HUP" },
  orderPower: { action: "on" },
};
/** Those that make nothing that lasts: repeated, they say what is so already; another ticket opens no second session by itself. */
const MAKE_NOTHING =
  "adoptMachine approveMachine rejectMachine cancelBuild cancelDeployment cancelMachineOrder pauseDeployment resumeDeployment cordonHost drainHost rolloutBootImage stopJob uncordonHost createSession createConsoleSession lookAtMachineBmc";

test("an Idempotency-Key of another request is a conflict for every POST that makes or does something once, before it does", () =>
  withRig(async (rig) => {
    const posts = controlEndpoints().filter(
      (endpoint) => endpoint.method === "POST" && endpoint.upload === undefined && isOfPeople(endpoint),
    );
    const taking = posts.filter(({ idempotent }) => idempotent);
    assert.equal(taking.map(({ id }) => id).sort(), Object.keys(MADE_BY).sort());
    const others = posts.filter((endpoint) => !taking.includes(endpoint)).map(({ id }) => id);
    assert.equal(others.sort(), MAKE_NOTHING.split(" ").sort());
    const { id: tokenId } = rig.store.get<TokenRecord>(keys.token(sha256Hex(rig.token)))!.value;
    for (const endpoint of taking)
      await rig.store.commit({
        actor: "test",
        mutations: [],
        idempotencyKey: sha256Hex(`token ${tokenId}\n${endpoint.id}\nused`),
        idempotencyHash: "another request",
      });
    const { seq } = rig.store;
    const documented = openapi() as { paths: Record<string, { post?: object }> };
    for (const { path } of taking)
      assert.match(JSON.stringify(documented.paths[path.replace(/:(\w+)/g, "{$1}")]?.post), /IdempotencyKey"/, path);
    for (const endpoint of taking) {
      const params = { app: "nothing", id: "nothing" };
      const input = { params, body: MADE_BY[endpoint.id], idempotencyKey: "used" } as never;
      const fault = await rig.admin.call(endpoint, input).then(
        () => undefined,
        (error: unknown) => error as Fault,
      );
      assert.is(fault?.code, "conflict", `${endpoint.id}: ${fault?.message}`);
      assert.match(fault!.message, /used for another request/, endpoint.id);
    }
    assert.is(rig.store.seq, seq);
  }, quiet));

test("a stale If-Match loses wherever one is taken, and where none is taken one is refused", () =>
  withRig(async (rig) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    const { id: route } = await rig.admin.call(createRoute, { body: { app: "hello", domain: "a.com" } });
    const profile = {
      name: "plain",
      image: "current",
      cmdline: [],
      tags: {},
      sshKeys: [],
      diskPolicy: { name: "ram", mode: "ram" },
    };
    const made = await rig.admin.call(putProfile, { params: { name: "plain" }, body: profile as Profile });
    assert.is(made.name, "plain");
    await rig.admin.call(createService, { body: { name: "svc", image: "hello:1" } });
    const [host, router] = [await rig.join("host"), await rig.join("router")];
    const params: Record<string, string> = { Host: host.id, Router: router.id, Route: route };
    const seen: string[] = [];
    for (const endpoint of controlEndpoints()) {
      if (endpoint.method === "GET" || endpoint.upload !== undefined || !isOfPeople(endpoint)) continue;
      const noun = /[A-Z][a-z]+$/.exec(endpoint.id)?.[0] ?? "";
      const name = noun === "Service" ? "svc" : "plain";
      const filled = {
        app: "hello",
        name,
        ...(params[noun] ? { id: params[noun] } : { id: "nothing" }),
        order: "nothing",
      };
      const bodies = { putProfile: profile, updateEnv: { env: {} }, adoptMachine: { card: "nothing" } };
      const body = (bodies as Record<string, object>)[endpoint.id] ?? {};
      const input = { params: filled, ifMatch: '"999999999"', ...(endpoint.body ? { body } : {}) } as never;
      const fault = await rig.admin.call(endpoint, input).then(
        () => undefined,
        (error: unknown) => error as Fault,
      );
      const said = `${endpoint.id}: ${fault?.code} ${fault?.message}`;
      if (!endpoint.conditional) assert.ok(fault?.code === "invalid", said);
      else if (fault?.code === "precondition") seen.push(endpoint.id);
      else
        assert.ok(
          fault?.code === "not-found" || /nothing deployed yet|chain is missing/.test(fault?.message ?? ""),
          said,
        );
    }
    assert.equal(
      seen.sort(),
      "cordonHost deleteApp deleteHost deleteProfile deleteRoute deleteRouter deleteService drainHost putProfile uncordonHost updateApp updateEnv updateHost updatePages updateRoute updateService".split(
        " ",
      ),
    );
  }, quiet));

test("an If-Match that is none of ours is refused by everything that changes something, never passed over", () =>
  withCaller(async ({ ask }) => {
    for (const endpoint of controlEndpoints()) {
      if (endpoint.method === "GET" || endpoint.upload !== undefined || !isOfPeople(endpoint)) continue;
      for (const etag of ['W/"3"', '"1", "2"', "abc", "-1"]) {
        const answer = await ask(endpoint, {
          headers: { "if-match": etag },
          ...(isJson(endpoint) ? { body: "{}" } : {}),
        });
        // Some are stopped before that, by what their body lacks.
        refused(answer, ["invalid"], `${endpoint.id} If-Match: ${etag}`);
      }
    }
  }));

/** Each text that a request may hold, with where it is. */
function* textsOf(schema: unknown, path: string): Generator<[string, object]> {
  const { type, properties, patternProperties, items, anyOf } = schema as {
    type?: string;
    properties?: Record<string, unknown>;
    patternProperties?: Record<string, unknown>;
    items?: unknown;
    anyOf?: unknown[];
  };
  if (type === "string") yield [path, schema as object];
  for (const [name, value] of Object.entries(properties ?? {})) yield* textsOf(value, `${path}.${name}`);
  for (const [pattern, value] of Object.entries(patternProperties ?? {})) {
    yield [`${path}.NAME`, { type: "string", pattern }];
    yield* textsOf(value, `${path}.*`);
  }
  if (items !== undefined) yield* textsOf(items, `${path}[]`);
  for (const each of anyOf ?? []) yield* textsOf(each, path);
}

/** Where the API takes any text at all, since it is content and never a name, an argument of ours, or a part of a path. */
const CONTENT = new Set(
  [
    // Run in the app's own container, or shown to people.
    "createRelease body.processes.*.command[]",
    "createRelease body.processes.*.entrypoint[]",
    "createRelease body.processChanges.*.command[]",
    "createRelease body.processChanges.*.entrypoint[]",
    "createRelease body.env.*",
    "createRelease body.description",
    "updateApp body.build.args.*",
    "updateEnv body.env.*",
    "createJob body.command[]",
    "createJob body.env.*",
    "createService body.command[]",
    "createService body.env.*",
    "updatePages body.message",
    "updatePages body.page",
    "updatePages body.errorPage",
    // Looked up among what there is, or parsed by rules with tests of their own.
    "createDeployment body.release",
    "rollbackApp body.release",
    "updateRoute body.canary.release",
    "createExternalService body.description",
    "updateExternalService body.description",
    "listExternalServices query.cursor",
    "createJob body.release",
    "listEvents query.type",
    "listEvents query.cursor",
    "machineTimeline query.cursor",
    "listAlerts query.cursor",
    "listMachines query.cursor",
    "listMachineOrders query.cursor",
    "listHosts query.cursor",
    "listApps query.cursor",
    "listReleases query.cursor",
    "listBuilds query.cursor",
    "listJobs query.cursor",
    "listDeployments query.cursor",
    "listServices query.cursor",
    "listTokens query.cursor",
    "listKeys query.cursor",
    "listLogDrains query.cursor",
    "listAppLogDrains query.cursor",
    "listBootImages query.cursor",
    "listProfiles query.cursor",
    "listRouters query.cursor",
    "listRoutes query.cursor",
    "listNetworkRules query.cursor",
    "listNetworkHosts query.cursor",
    "listCertificates query.cursor",
    "createAppLogDrain body.url",
    "createAppLogDrain body.caPem",
    "createLogDrain body.url",
    "createLogDrain body.caPem",
    "createCertificate body.chain",
    "createCertificate body.key",
    "updateCertificate body.chain",
    "updateCertificate body.key",
    "addKey body.publicKey",
    "registerBootImage body.manifest",
    "registerBootImage body.signature",
    "putProfile body.cloudConfig",
    "putProfile body.diskPolicy.name",
    "putProfile body.diskPolicy.serial",
    "putProfile body.diskPolicy.wwn",
    "createService body.image",
    "updateService body.image",
    // Tells of what there is, by members with a certificate; the token of a join is compared by its hash.
    "joinCluster body.token",
    "joinCluster body.csr",
    "joinCluster body.name",
    "joinCluster body.addresses[]",
    "renewMember body.csr",
    ...["hostname", "architecture", "bootId", "uuid", "serial", "agentVersion"].flatMap((fact) => [
      `joinCluster body.facts.${fact}`,
      `reportHost body.facts.${fact}`,
    ]),
    "reportHost body.engine.version",
    "reportHost body.engine.reason",
    "reportHost body.subnetWaits",
    "reportHost body.jobs[].reason",
    "reportHost body.events[].message",
    ...["path", "model", "serial", "wwn", "transport", "links[]", "holds", "contents[]"].map(
      (field) => `reportHostDisks body.disks[].${field}`,
    ),
    "reportHostDisks body.wipe.reason",
    "reportOrder body.step",
    "reportOrder body.end.reason",
    "answerBmcAsk body.message",
    "answerBmcAsk body.text",
    "reportMachineInventory body.report",
    ...["step", "progress", "evidence.did"].map((field) => `reportHostWipe body.${field}`),
    "hostBuildLog body.text",
    "hostBuildResult body.reason",
    "hostBuildResult body.detected",
    "hostBuildResult body.processes.*",
    "postBootEvents body.events[].eventId",
    "postBootEvents body.events[].claimed.manufacturer",
    "postBootEvents body.events[].claimed.product",
    "postBootEvents body.events[].message",
    "postBootEvents body.dhcpServers[].file",
    "postBootEvents body.events[].detail.*",
    "routerLog body.session",
    "routerLog body.lines[].line",
    "reportRouter body.reason",
    "reportRouter body.refused[].what",
    "reportRouter body.refused[].why",
  ].sort(),
);

test("every text a request may hold is a name without signs for a shell, a path or a log, or is on the list of content", () => {
  const ajv = new Ajv({ strict: false, validateSchema: false });
  const found: string[] = [];
  const endless: string[] = [];
  for (const endpoint of controlEndpoints())
    for (const part of ["params", "query", "body"] as const)
      for (const [path, schema] of textsOf(endpoint[part] ?? {}, part)) {
        const takes = ajv.compile(schema);
        const where = `${endpoint.id} ${path}`;
        if (["a\nb", "a\r\nb", "a\u0000b", "\u001b[2J", ";id|\n", "\u0430pp", "a\u202eb"].some((each) => takes(each)))
          found.push(where);
        if (takes("a".repeat(2 << 20))) endless.push(where);
      }
  assert.equal([...new Set(found)].sort(), [...CONTENT]);
  assert.equal([...new Set(endless)], []);
});

test("branches, Dockerfiles, targets, builders and buildpacks that are options, commands or files are refused", () =>
  withRig(async (rig) => {
    await rig.admin.call(createApp, { body: { name: "hello" } });
    const injected = [
      "--upload-pack=touch /x",
      "-o ProxyCommand=id",
      "main;id",
      "main\nid",
      "$(id)",
      "`id`",
      "../x",
      "/etc/passwd",
      "refs/heads/../../x",
      "@{u}",
      "\u0430",
      "",
    ];
    const settings = (value: string) => [
      { deployBranch: value },
      { build: { dockerfile: value } },
      { build: { target: value } },
      { build: { builder: value } },
      { build: { kind: value } },
    ];
    const buildpacks = [
      ...injected,
      "ext::sh -c id",
      "ext::id",
      "file:///etc",
      "fd::17",
      "-u",
      "--config=core.sshCommand=id",
      "ssh://-oProxyCommand=id/x",
      "git@host:x",
      "https://a/b.git#--upload-pack=id",
      "https://a/b.git#a b",
      "javascript:1",
      "a".repeat(401),
    ];
    const bodies = [
      ...injected.flatMap(settings),
      ...["a..b", "x.lock"].flatMap((value) => [{ deployBranch: value }, { build: { kind: value } }]),
      ...buildpacks.map((pack) => ({ build: { buildpacks: [pack] } })),
      ...["A B", "A=B", "-A", "A\nB", "constructor.x"].map((name) => ({ build: { args: { [name]: "x" } } })),
    ];
    const taken: unknown[] = [];
    const agent = new Agent({ ca: rig.caPem, keepAlive: true });
    try {
      for (const body of bodies) {
        const status = await patchApp(rig, agent, body);
        if (status !== 400) taken.push([status, body]);
      }
    } finally {
      agent.destroy();
    }
    assert.equal(taken, []);
    const { deployBranch, build } = await rig.admin.call(getApp, { params: { app: "hello" } });
    assert.equal([deployBranch, build], [undefined, undefined]);
    assert.is((await rig.admin.call(listReleases, { params: { app: "hello" } })).items.length, 0);
  }, quiet));

function patchApp({ url, token }: Rig, agent: Agent, body: unknown): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const asked = request(`${url}/v1/apps/hello`, { method: "PATCH", agent, headers }, (reply) => {
      reply.resume().on("end", () => resolve(reply.statusCode!));
    });
    asked.on("error", reject);
    asked.end(JSON.stringify(body));
  });
}

test.run();
