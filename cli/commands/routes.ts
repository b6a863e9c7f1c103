// route: which domains lead to which apps.
import { Fault } from "#api/fault.ts";
import { createRoute, deleteRoute, listRoutes } from "#api/routes.ts";
import { appName, findAppName } from "../app.ts";
import type { Command } from "../command.ts";
import { listAll, withCluster } from "../connect.ts";
import { answer, answerList } from "../output/answer.ts";

export const routeCommands: readonly Command[] = [
  {
    words: "route list",
    summary: "List the routes of an app, or all when no app is meant",
    run: (call) =>
      withCluster(call, async (client) => {
        const app = await findAppName(call);
        const query = app === undefined ? {} : { app };
        answerList(call.cli, await listAll(client, listRoutes, { query, signal: call.cli.signal }), {
          titles: ["ROUTE", "SERVICE", "ID"],
          row: (route) => [`http:${route.domain}${route.path}`, `${route.app} ${route.process}`, route.id],
          none: `no routes${app === undefined ? "" : ` lead to ${app}`}; make one: flynn route add http DOMAIN`,
        });
      }),
  },
  {
    words: "route add http",
    summary: "Lead a domain (and a path below it) to an app",
    args: [{ name: "DOMAIN[/PATH]", required: true }],
    flags: [{ name: "service", short: "s", value: "PROCESS", help: "Process that serves it, web unless said" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const process = call.text("service");
        const route = await client.call(createRoute, {
          body: {
            app: await appName(call),
            ...splitRoute(call.args[0]!),
            ...(process === undefined ? {} : { process }),
          },
          signal: cli.signal,
        });
        answer(cli, route, () =>
          cli.print(
            `Created route ${route.id}: http://${route.domain}${route.path} leads to ${route.app} ${route.process}`,
          ),
        );
      }),
  },
  {
    words: "route remove",
    summary: "Remove a route, by its id or its domain",
    args: [{ name: "ID", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const id = call.args[0]!;
        await client.call(deleteRoute, { params: { id }, signal: cli.signal });
        answer(cli, { id }, () => cli.print(`Route ${id} removed.`));
      }),
  },
];

/** `Example.com/api/` -> domain example.com, path /api. */
export function splitRoute(text: string): { domain: string; path?: string } {
  if (text.includes("://"))
    throw new Fault(
      "invalid",
      `${text}: write a domain, and a path if you like, without http://, such as example.com/api`,
    );
  const slash = text.indexOf("/");
  const domain = (slash < 0 ? text : text.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? "/" : text.slice(slash);
  return path === "/" ? { domain } : { domain, path };
}
