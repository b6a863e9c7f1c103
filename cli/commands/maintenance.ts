// maintenance, error-page: what visitors see in an app's place.
import type { Body } from "#api/endpoint.ts";
import { Fault } from "#api/fault.ts";
import { getPages, updatePages } from "#api/pages.ts";
import { appName } from "../apps/app.ts";
import { withCluster } from "../clusters/connect.ts";
import { answer } from "../output/answer.ts";
import type { Command, Invocation } from "../parse/command.ts";
import { readTextFile } from "../parse/read-file.ts";

const SANDBOX = `The page is HTML of at most 10 KiB. Styles and images inside it work; scripts, forms and files from elsewhere do not:
it is shown in a sandbox.`;

export const maintenanceCommands: readonly Command[] = [
  {
    words: "maintenance",
    summary: "Show whether an app is in maintenance",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const pages = await client.call(getPages, { params: { app: await appName(call) }, signal: cli.signal });
        answer(cli, pages, () => {
          cli.print(pages.maintenance ? `on, since ${pages.since}` : "off");
          if (pages.errorPage !== undefined) cli.print("an error page of the app's own is shown when no job answers");
        });
      }),
  },
  {
    words: "maintenance on",
    summary: "Answer 503 with a page instead of the app, on all its http routes",
    flags: [
      { name: "message", value: "TEXT", help: "Words on the plain page" },
      { name: "page", value: "FILE", help: "A page of your own instead" },
    ],
    more: `${SANDBOX}\nJobs run on; so do open requests and TCP routes.`,
    async run(call) {
      const [message, page] = [call.text("message"), call.text("page")];
      if (message !== undefined && page !== undefined) throw new Fault("invalid", "give --message or --page, not both");
      const text = page === undefined ? null : await readTextFile(page, call.cli.cwd);
      const body = { maintenance: true, message: message ?? null, page: text };
      await change(call, body, (app) => `Maintenance of ${app} is on: visitors see a page, with status 503.`);
    },
  },
  {
    words: "maintenance off",
    summary: "Let the app answer again",
    run: (call) => change(call, { maintenance: false }, (app) => `Maintenance of ${app} is off.`),
  },
  {
    words: "error-page set",
    summary: "Show a page of the app's own when no job answers (502, 503, 504)",
    args: [{ name: "FILE", required: true, offers: "files" }],
    more: SANDBOX,
    async run(call) {
      const errorPage = await readTextFile(call.args[0]!, call.cli.cwd);
      await change(call, { errorPage }, (app) => `${app} has an error page of its own now.`);
    },
  },
  {
    words: "error-page remove",
    summary: "Show the plain words again",
    run: (call) => change(call, { errorPage: null }, (app) => `${app} has no error page of its own any more.`),
  },
];

function change(call: Invocation, body: Body<typeof updatePages>, words: (app: string) => string): Promise<void> {
  return withCluster(call, async (client) => {
    const app = await appName(call);
    const pages = await client.call(updatePages, { params: { app }, body, signal: call.cli.signal });
    answer(call.cli, pages, () => call.cli.print(words(app)));
  });
}
