// route: which domains and ports lead to which apps.
import { getFormation } from "#api/apps.ts";
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { createRoute, deleteRoute, listRoutes, type Route, updateRoute } from "#api/routes.ts";
import { appName, findAppName } from "../apps/app.ts";
import { routeLabel, routeOptions, routeUrl, splitRoute } from "../apps/route-label.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { percentOf } from "../deploy/staging.ts";
import { answer, answerList } from "../output/answer.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";
import { addOrReplace, CERTIFICATE_FLAGS, certificateFiles } from "./certificates.ts";
import { saidOfNew, saidOfUpdate, WORDS, WORDS_OF_UPDATE } from "./route-words.ts";

const PROCESS: readonly Flag[] = [
  { name: "process", short: "s", value: "PROCESS", help: "Process that serves it, web unless said" },
  { name: "service", value: "PROCESS", help: "The same as --process" },
];
const STICKY = { name: "sticky", help: "A client's requests go to the job that answered its first one (a cookie)" };
const REDIRECT = { name: "redirect-https", help: "Send http requests on to https" };
const HSTS = {
  name: "hsts",
  value: "SECONDS",
  help: "Tell browsers to use https only, for so long (31536000: a year)",
};
const PROXY = {
  name: "proxy-protocol",
  value: "v1|v2",
  help: "Begin each connection to a job with the PROXY protocol's header, which says who the client is",
};

export const routeCommands: readonly Command[] = [
  {
    words: "route list",
    summary: "List the routes of an app, or all when no app is meant",
    run: (call) =>
      withCluster(call, async (client) => {
        const app = await findAppName(call);
        const query = app === undefined ? {} : { app };
        answerList(call.cli, await listAll(client, listRoutes, { query, signal: call.cli.signal }), {
          titles: ["ROUTE", "SERVICE", "ID", "OPTIONS"],
          row: (route) => [routeLabel(route), `${route.app} ${route.process}`, route.id, routeOptions(route)],
          none: `no routes${app === undefined ? "" : ` lead to ${app}`}; make one: flynn route add http DOMAIN`,
        });
      }),
  },
  {
    words: "route add http",
    summary: "Lead a domain (and a path below it) to an app",
    args: [{ name: "DOMAIN[/PATH]", required: true }],
    flags: [
      ...PROCESS,
      { name: "path", value: "PATH", help: "Only what begins with it; the longest path wins" },
      STICKY,
      REDIRECT,
      HSTS,
      ...WORDS,
      ...CERTIFICATE_FLAGS,
    ],
    more: `The domain's DNS is to point at a router. *.example.com matches one label. WebSocket and server-sent events need no
option. An event stream whose client does not ask for text/event-stream is cut after 60 s without a byte: send a comment now and
then. https is answered on every route: with your certificate (--cert, --key; or \`flynn cert add\`), else with one no browser trusts.

  flynn route add http www.example.com --cert chain.pem --key key.pem --redirect-https
  flynn route add http example.com --path /api --process api
  flynn route add http grpc.example.com --protocol h2c
  flynn route add http api.example.com --rate 100/m`,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const app = await appName(call);
        const files = await certificateFiles(call);
        const asked = splitRoute(call.args[0]!);
        const path = call.text("path") ?? asked.path;
        if (call.text("path") !== undefined && asked.path !== undefined)
          throw new Fault("invalid", "give the path once: behind the domain or with --path");
        const route = await client.call(createRoute, {
          body: {
            app,
            domain: asked.domain,
            ...(path === undefined ? {} : { path }),
            ...process(call),
            ...added(call),
            ...saidOfNew(call),
          },
          signal: cli.signal,
        });
        if (files) await certified(client, call, files);
        await noteUnknownProcess(client, call, route);
        answer(cli, route, () => {
          const to = route.type === "http" ? routeUrl(route) : routeLabel(route);
          cli.print(`Created route ${route.id}: ${to} leads to ${route.app} ${route.process}`);
        });
      }),
  },
  {
    words: "route add tcp",
    summary: "Lead a port of every router to an app, connections passed on as they are",
    flags: [...PROCESS, { name: "port", value: "PORT", help: "Of the range 3000-3500; a free one unless said" }, PROXY],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const port = call.text("port");
        const proxyProtocol = version(call.text("proxy-protocol"));
        const route = await client.call(createRoute, {
          body: {
            app: await appName(call),
            type: "tcp",
            ...process(call),
            ...(port === undefined ? {} : { port: wholeNumber("--port", port) }),
            ...(proxyProtocol ? { proxyProtocol } : {}),
          },
          signal: cli.signal,
        });
        await noteUnknownProcess(client, call, route);
        answer(cli, route, () =>
          cli.print(`Created route ${route.id}: ${routeLabel(route)} leads to ${route.app} ${route.process}`),
        );
      }),
  },
  {
    words: "route update",
    summary: "Change a route's process or options, by its id, DOMAIN[/PATH] or port",
    args: [{ name: "ID", required: true }],
    flags: [
      ...PROCESS,
      STICKY,
      { name: "no-sticky", help: "Any job again" },
      REDIRECT,
      { name: "no-redirect-https", help: "Answer http again" },
      HSTS,
      { name: "no-hsts", help: "No such header any more; browsers keep what they were told" },
      { ...PROXY, value: "v1|v2|none" },
      ...WORDS_OF_UPDATE,
      {
        name: "canary",
        value: "PERCENT",
        help: "Share of its requests for the release that a paused deployment brings, such as 5%",
      },
      { name: "release", value: "RELEASE", help: "With --canary: the release that has the share" },
      { name: "no-canary", help: "Requests go to every job alike" },
      ...CERTIFICATE_FLAGS,
    ],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const files = await certificateFiles(call);
        const body = { ...process(call), ...added(call), ...takenBack(call), ...saidOfUpdate(call) };
        if (Object.keys(body).length === 0 && !files)
          throw new Fault("invalid", "say what is to change, such as --redirect-https; see `flynn help route update`");
        if (files) await certified(client, call, files);
        const route = await client.call(updateRoute, {
          params: { id: await routeId(client, call) },
          body,
          signal: cli.signal,
        });
        await noteUnknownProcess(client, call, route);
        answer(cli, route, () => {
          const options = routeOptions(route);
          const to = `${route.app} ${route.process}${options ? ` (${options})` : ""}`;
          cli.print(`Changed route ${route.id}: ${routeLabel(route)} leads to ${to}`);
        });
      }),
  },
  {
    words: "route remove",
    summary: "Remove a route, by its id, DOMAIN[/PATH] or port",
    args: [{ name: "ID", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const id = await routeId(client, call);
        await client.call(deleteRoute, { params: { id }, signal: cli.signal });
        answer(cli, { id }, () => cli.print(`Route ${call.args[0]} removed.`));
      }),
  },
];

/** The API knows a route by its id, and by a domain or port that only it has; DOMAIN/PATH is looked up here. */
async function routeId(client: Client, { args, cli }: Invocation): Promise<string> {
  const word = args[0]!;
  const { domain, path } = splitRoute(word);
  if (path === undefined) return domain;
  const routes = await listAll(client, listRoutes, { signal: cli.signal });
  const found = routes.find((route) => route.type === "http" && route.domain === domain && route.path === path);
  if (found === undefined) throw new Fault("not-found", `no route ${word}; see \`flynn route list\``);
  return found.id;
}

function process(call: Invocation): { process?: string } {
  const name = call.text("process") ?? call.text("service");
  return name === undefined ? {} : { process: name };
}

/** A route may come before the release that has its process; a slip of the pen looks the same. */
async function noteUnknownProcess(client: Client, call: Invocation, route: Route): Promise<void> {
  if (process(call).process === undefined) return;
  const input = { params: { app: route.app }, signal: call.cli.signal };
  const formation = await client.call(getFormation, input).catch((error: unknown) => {
    if (!isFault(error, "conflict")) throw error; // nothing deployed yet
  });
  const known = Object.keys(formation?.processes ?? {});
  if (known.length === 0 || known.includes(route.process)) return;
  call.cli.say(
    `note: the current release of ${route.app} has no process ${route.process} (it has ${known.join(", ")}): until one has, nothing answers here`,
  );
}

function added(call: Invocation) {
  const hsts = call.text("hsts");
  return {
    ...(call.on("sticky") ? { sticky: true } : {}),
    ...(call.on("redirect-https") ? { tls: "redirect" as const } : {}),
    ...(hsts === undefined ? {} : { hstsSeconds: wholeNumber("--hsts", hsts) }),
  };
}

function takenBack(call: Invocation) {
  for (const name of ["sticky", "redirect-https"])
    if (call.on(name) && call.on(`no-${name}`))
      throw new Fault("invalid", `--${name} and --no-${name} together say nothing`);
  const proxy = call.text("proxy-protocol");
  return {
    ...(call.on("no-sticky") ? { sticky: null } : {}),
    ...(call.on("no-redirect-https") ? { tls: null } : {}),
    ...(call.on("no-hsts") ? { hstsSeconds: null } : {}),
    ...(proxy === undefined ? {} : { proxyProtocol: proxy === "none" ? null : version(proxy) }),
    ...canary(call),
  };
}

function canary(call: Invocation) {
  const percent = call.text("canary");
  const release = call.text("release");
  if (percent === undefined && release !== undefined)
    throw new Fault("invalid", "--release says whose --canary it is, such as --canary 5% --release v7");
  if (call.on("no-canary")) {
    if (percent !== undefined) throw new Fault("invalid", "--canary and --no-canary together say nothing");
    return { canary: null };
  }
  if (percent === undefined) return {};
  return { canary: { percent: percentOf(percent), ...(release === undefined ? {} : { release }) } };
}

function version(text: string | undefined): "v1" | "v2" | undefined {
  if (text === undefined || text === "v1" || text === "v2") return text;
  throw new Fault("invalid", `--proxy-protocol is v1 or v2, not ${text}`);
}

function wholeNumber(flag: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Fault("invalid", `${flag} is a whole number, not ${text}`);
  return Number(text);
}

async function certified(client: Client, call: Invocation, files: { chain: string; key: string }): Promise<void> {
  const certificate = await addOrReplace(client, files, call.cli.signal);
  call.cli.say(`certificate ${certificate.id} is shown for ${certificate.names.join(", ")}`);
}
