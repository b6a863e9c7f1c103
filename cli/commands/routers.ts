// router: who serves the routes, and which generation.
import { deleteRouter, listRouters, type Router } from "#api/routes.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import type { Command } from "../parse/command.ts";

export const routerCommands: readonly Command[] = [
  {
    words: "router list",
    summary: "List routers and the generation each serves",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listRouters, { signal: call.cli.signal }), {
          titles: ["ID", "NAME", "STATE", "ADDRESS", "GENERATION", "RELOADS", "VERSION", "SEEN", "REASON"],
          row: (router: Router) => [
            router.id,
            router.name,
            router.state,
            router.address,
            String(router.generation),
            String(router.reloads),
            router.hello?.version,
            router.lastSeenAt && `${age(router.lastSeenAt)} ago`,
            router.reason,
          ],
          none: "no router has joined",
        }),
      ),
  },
  {
    words: "router remove",
    summary: "Remove a router that is gone for good; its certificate is refused from then on",
    args: [{ name: "ID", required: true }],
    flags: CONFIRM_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const id = call.args[0]!;
        await confirm(call, id, `router ${id} is forgotten; if it runs, it must join again with a new token.`);
        await client.call(deleteRouter, { params: { id }, signal: call.cli.signal });
        answer(call.cli, { id }, () => call.cli.print(`Router ${id} removed.`));
      }),
  },
];
