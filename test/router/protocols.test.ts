// time limit: 120 s
// Routes whose jobs speak HTTP/2 without TLS, as gRPC does, through the real HAProxy: trailers, streams both ways, and what it costs.
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { get, origin, type PoolSketch, type Rig, startLoad, startRig, target } from "./rig.ts";

/** Speaks HTTP/2 and nothing else; a call is echoed message by message, with a trailer that counts them. */
interface Job {
  name: string;
  port: number;
  seen: IncomingHttpHeaders[];
  close(): Promise<void>;
}
async function h2cJob(name: string): Promise<Job> {
  const sessions = new Set<ServerHttp2Session>();
  const seen: IncomingHttpHeaders[] = [];
  const server: Http2Server = createServer();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => undefined);
  });
  server.on("stream", (stream, headers) => {
    seen.push(headers);
    let messages = 0;
    stream.on("error", () => undefined);
    stream.respond(
      { ":status": 200, "content-type": String(headers["content-type"] ?? "text/plain"), "x-job": name },
      { waitForTrailers: true },
    );
    stream.on("wantTrailers", () =>
      stream.sendTrailers({ "grpc-status": "0", "grpc-message": `${messages} messages` }),
    );
    stream.on("data", (chunk: Buffer) => {
      messages++;
      stream.write(chunk);
    });
    stream.on("end", () => stream.end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    name,
    port: (server.address() as AddressInfo).port,
    seen,
    async close() {
      for (const session of sessions) session.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

const jobs: Job[] = [];
const rigs: Rig[] = [];
const clients: ClientHttp2Session[] = [];
test.after.each(async () => {
  for (const client of clients.splice(0)) client.destroy();
  for (const rig of rigs.splice(0)) await rig.end();
  for (const job of jobs.splice(0)) await job.close();
});
const newJob = async (name: string) => {
  const job = await h2cJob(name);
  jobs.push(job);
  return job;
};
const newRig = async () => {
  const rig = await startRig();
  rigs.push(rig);
  return rig;
};
const client = (rig: Rig) => {
  const session = connect(`http://127.0.0.1:${rig.port}`);
  session.on("error", () => undefined);
  clients.push(session);
  return session;
};
const grpc = (more: Partial<PoolSketch>): PoolSketch => ({
  app: "grpc",
  routes: ["g.test"],
  jobs: [],
  options: { protocol: "h2c" },
  ...more,
});
const call = (session: ClientHttp2Session): ClientHttp2Stream =>
  session.request(
    {
      ":method": "POST",
      ":path": "/echo.Echo/Stream",
      ":authority": "g.test",
      "content-type": "application/grpc",
      te: "trailers",
    },
    { endStream: false },
  );

/** Resolves with the bytes that come next, so many of them. */
function received(stream: ClientHttp2Stream): (count: number) => Promise<string> {
  let text = "";
  stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return async (count) => {
    while (text.length < count) await once(stream, "data", { signal: AbortSignal.timeout(10_000) });
    const next = text.slice(0, count);
    text = text.slice(count);
    return next;
  };
}

test("a gRPC call goes both ways message by message, and ends with the job's trailers", async () => {
  const job = await newJob("g1");
  const rig = await newRig();
  await rig.serve(target(1, [grpc({ jobs: [job] })]));
  const stream = call(client(rig));
  const next = received(stream);
  const trailers = once(stream, "trailers");
  for (let n = 0; n < 5; n++) {
    stream.write(`message ${n}`);
    assert.is(await next(9), `message ${n}`, "before the next is sent");
  }
  stream.end();
  const [headers] = (await trailers) as [IncomingHttpHeaders];
  assert.is(headers["grpc-status"], "0");
  assert.is(headers["grpc-message"], "5 messages");
  const [seen] = job.seen as [IncomingHttpHeaders];
  assert.is(seen["te"], "trailers");
  assert.is(seen["x-forwarded-for"], "127.0.0.1");
  assert.is(seen["connection"], undefined);
});

test("many calls at once on one connection are answered, each with its own", async () => {
  const pair = [await newJob("g1"), await newJob("g2")];
  const rig = await newRig();
  await rig.serve(target(1, [grpc({ jobs: pair })]));
  const session = client(rig);
  const calls = Array.from({ length: 50 }, async (_, n) => {
    const stream = call(session);
    const next = received(stream);
    const trailers = once(stream, "trailers");
    stream.end(`call-${String(n).padStart(4, "0")}`);
    assert.is(await next(9), `call-${String(n).padStart(4, "0")}`);
    assert.is(((await trailers) as [IncomingHttpHeaders])[0]["grpc-status"], "0");
  });
  await Promise.all(calls);
  assert.ok(
    pair.every(({ seen }) => seen.length > 0),
    "and both jobs have some",
  );
});

test("the first such route is a reload that fails no request, the next are none; an http/1.1 client is answered too", async () => {
  const [job, plain] = [await newJob("g1"), await origin("plain")];
  const rig = await newRig();
  try {
    const other = { app: "plain", routes: ["p.test"], jobs: [plain] };
    await rig.serve(target(1, [other]));
    const load = startLoad(rig.port, "p.test", 4);
    await rig.serve(target(2, [other, grpc({ jobs: [job] })]));
    assert.is(rig.converger.state().reloads, 1);
    const answer = await get(rig.port, "g.test", { method: "POST", body: "x" });
    assert.equal([answer.status, answer.body, answer.headers["x-job"]], [200, "x", "g1"]);
    await rig.serve(target(3, [other, grpc({ jobs: [job] }), grpc({ app: "more", routes: ["m.test"], jobs: [job] })]));
    assert.is((await get(rig.port, "m.test", { method: "POST", body: "y" })).body, "y");
    assert.is(rig.converger.state().reloads, 1);
    await load.stop();
    assert.equal(load.failures, []);
  } finally {
    await plain.close();
  }
});

test("one process may be spoken to in both ways, by the route that leads to it", async () => {
  const job = await newJob("g1");
  const rig = await newRig();
  const both = target(1, [grpc({ jobs: [job], routes: ["g.test", "h.test"] })]);
  const [first, second] = both.routes as [(typeof both.routes)[0], (typeof both.routes)[0]];
  const { protocol: _, ...http1 } = second;
  await rig.serve({ ...both, routes: [first, http1] });
  assert.is((await get(rig.port, "g.test", { method: "POST", body: "x" })).body, "x");
  assert.is(
    (await get(rig.port, "h.test", { method: "POST", body: "x" })).status,
    502,
    "a job that speaks HTTP/2 only",
  );
});

test("a canary of such a route is spoken to as the others are", async () => {
  const [old, next] = [await newJob("old"), await newJob("next")];
  const rig = await newRig();
  await rig.serve(target(1, [grpc({ jobs: [old], canary: { percent: 100, jobs: [next] } })]));
  const answer = await get(rig.port, "g.test", { method: "POST", body: "x" });
  assert.equal([answer.status, answer.headers["x-job"]], [200, "next"]);
});

test.run();
