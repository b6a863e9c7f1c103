// Places for sessions at control: so many at once, and each comes back however its session ended.
import { request } from "node:http";
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WebSocket } from "ws";
import { execJob, FRAMES_PROTOCOL, TICKET_PROTOCOL } from "#api/attach.ts";
import { Fault } from "#api/fault.ts";
import { silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { type Serve, socketMounter } from "../../control/mount-socket.ts";
import { sessionTickets } from "../../control/sessions/tickets.ts";
import type { Store } from "../../control/store/store.ts";

const MOST = 3;
const PATH = "/v1/jobs/job-1/exec";

interface Sessions {
  /** Asks for one: the open socket, or the status it was refused with. */
  ask(options?: { autoPong?: boolean }): Promise<WebSocket | number>;
  /** The status of an upgrade with a good ticket whose key is no key. */
  askUnsoundly(): Promise<number>;
  /** What the next sessions do; until something else is given, they last until their client goes. */
  next: { refuse?: Fault; serve: Serve };
  /** Those that are served now. */
  readonly served: number;
}

const lasts: Serve = (_, signal) =>
  new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));

const store = {
  get: () => ({ value: { id: "t", name: "ann", permissions: ["app:write"] } }),
  onDurable: () => () => undefined,
} as unknown as Store;

async function withSessions(body: (sessions: Sessions) => Promise<void>, pingEveryMs = 60_000): Promise<void> {
  const app = Fastify({ forceCloseConnections: true });
  const tickets = sessionTickets({ monotonicMs: () => 0 });
  const mountSocket = socketMounter({
    app,
    mount: () => undefined,
    store,
    tickets,
    log: silentLog(),
    pingEveryMs,
    most: MOST,
  });
  let served = 0;
  const url = () => `//127.0.0.1:${(app.server.address() as AddressInfo).port}${PATH}`;
  const protocols = () => [FRAMES_PROTOCOL, TICKET_PROTOCOL + tickets.issue("ann", PATH)];
  const sessions: Sessions = {
    next: { serve: lasts },
    get served() {
      return served;
    },
    ask: ({ autoPong = true } = {}) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws:${url()}`, protocols(), { autoPong });
        socket.on("error", reject);
        socket.once("open", () => resolve(socket));
        socket.once("unexpected-response", (req, reply) => {
          req.destroy();
          resolve(reply.statusCode!);
        });
      }),
    askUnsoundly: () =>
      new Promise((resolve, reject) => {
        const headers = {
          connection: "Upgrade",
          upgrade: "websocket",
          "sec-websocket-version": "13",
          "sec-websocket-key": "short",
          "sec-websocket-protocol": protocols().join(", "),
        };
        request(`http:${url()}`, { headers, agent: false }, (reply) => {
          reply.resume();
          resolve(reply.statusCode!);
        })
          .on("error", reject)
          .end();
      }),
  };
  mountSocket(execJob, () => {
    const { refuse, serve } = sessions.next;
    if (refuse) throw refuse;
    return async (socket, signal) => {
      served++;
      await serve(socket, signal).finally(() => served--);
    };
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  try {
    await body(sessions);
  } finally {
    await app.close();
  }
}

const opened = async (sessions: Sessions, options = {}): Promise<WebSocket> => {
  const socket = await sessions.ask(options);
  if (typeof socket === "number") throw new Error(`refused with ${socket}`);
  return socket;
};
const fill = async (sessions: Sessions, options = {}): Promise<WebSocket[]> => {
  const all: WebSocket[] = [];
  for (let n = 0; n < MOST; n++) all.push(await opened(sessions, options));
  assert.is(await sessions.ask(), 429, "there is no place beyond the last");
  return all;
};
/** The end of the others is not told to whoever comes next: they may have to ask more than once. */
const fillAgain = async (sessions: Sessions): Promise<void> => {
  sessions.next = { serve: lasts };
  for (let n = 0; n < MOST; n++)
    await until(async () => typeof (await sessions.ask()) !== "number", {
      what: `place ${n + 1} of ${MOST}`,
      timeoutMs: 20_000,
      everyMs: 10,
    });
  assert.is(await sessions.ask(), 429, "and none too many came back");
  assert.is(sessions.served, MOST);
};

const ENDS: [claim: string, end: (sockets: WebSocket[], end: () => void) => void][] = [
  ["their clients close them", (sockets) => sockets.forEach((socket) => void socket.close())],
  ["their clients are killed", (sockets) => sockets.forEach((socket) => void socket.terminate())],
  ["their jobs end", (_, end) => end()],
];
for (const [claim, end] of ENDS)
  test(`as many sessions as before can be opened again when ${claim}`, () =>
    withSessions(async (sessions) => {
      const { promise: over, resolve } = Promise.withResolvers<void>();
      sessions.next = { serve: (socket, signal) => Promise.race([over, lasts(socket, signal)]) };
      end(await fill(sessions), resolve);
      await fillAgain(sessions);
    }));

test("a client that fell silent, its connection open, keeps no place", () =>
  withSessions(async (sessions) => {
    await fill(sessions, { autoPong: false });
    await until(async () => typeof (await sessions.ask({ autoPong: false })) !== "number", {
      what: "a place",
      timeoutMs: 20_000,
      everyMs: 10,
    });
  }, 50));

test("a client that does not answer the end of its session keeps no place", () =>
  withSessions(async (sessions) => {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    sessions.next = { serve: () => over };
    const sockets = await fill(sessions);
    for (const socket of sockets) socket.pause(); // hears no close, so it answers none
    resolve();
    await fillAgain(sessions);
    for (const socket of sockets) socket.terminate();
  }));

test("what is refused takes no place: by its host, by a fault of control, before or after the upgrade", () =>
  withSessions(async (sessions) => {
    const refuse = new Fault("conflict", "job job-1 does not run");
    sessions.next = { refuse, serve: lasts };
    for (let n = 0; n < MOST * 2; n++) assert.is(await sessions.ask(), 409);
    for (const error of [new Fault("unavailable", "host h1 does not answer"), new Error("a bug")]) {
      sessions.next = { serve: () => Promise.reject(error) };
      for (let n = 0; n < MOST; n++)
        await until(async () => typeof (await sessions.ask()) !== "number", {
          what: "a place of one that was refused",
          timeoutMs: 20_000,
          everyMs: 10,
        });
    }
    await fillAgain(sessions);
  }));

test("a client is told at once that its session is over, and what refused it", () =>
  withSessions(async (sessions) => {
    for (const [serve, code] of [
      [async () => undefined, 1_000],
      [() => Promise.reject(new Fault("unavailable", "host h1 does not answer")), 4_503],
    ] as [Serve, number][]) {
      sessions.next = { serve };
      const socket = await opened(sessions);
      const closed = new Promise((resolve) => socket.once("close", resolve));
      assert.is(await closed, code);
    }
  }));

test("an upgrade that is none takes no place", () =>
  withSessions(async (sessions) => {
    for (let n = 0; n < MOST * 2; n++) assert.is(await sessions.askUnsoundly(), 400);
    await fillAgain(sessions);
  }));

test.run();
