// token: what scripts and other people's command lines show.
import { createToken, listTokens, revokeToken, type Scope } from "#api/tokens.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import type { Command } from "../parse/command.ts";
import { durationMs } from "../parse/duration.ts";

const DEFAULT_PERMISSIONS = "app:read,app:write";

export const tokenCommands: readonly Command[] = [
  {
    words: "token create",
    summary: "Make an access token, for a CI script or another person; it is shown this once",
    more: `Permissions: app:read, app:write, cluster:read, cluster:write, machine:read, machine:write, or '*' for everything; never more than your own.
A token for a script that pushes: flynn token create ci --expires 90d
There: flynn cluster add NAME URL - --pin PIN, with the token on stdin (\`flynn cluster list\` shows URL and PIN).`,
    args: [{ name: "NAME", required: true }],
    flags: [
      { name: "permissions", short: "p", value: "LIST", help: `Comma-separated; ${DEFAULT_PERMISSIONS} unless given` },
      {
        name: "expires",
        short: "e",
        value: "TIME",
        help: "How long it is good, such as 12h or 90d; else until revoked",
      },
    ],
    run: (call) =>
      withCluster(call, async (client, cluster) => {
        const { cli } = call;
        const [name] = call.args as [string];
        const listed = (call.text("permissions") ?? DEFAULT_PERMISSIONS).split(",");
        const permissions = listed.map((each) => each.trim()).filter((each) => each !== "") as Scope[];
        const ttlMs = durationMs("--expires", call.text("expires"));
        const body = { name, permissions, ...(ttlMs === undefined ? {} : { ttlMs }) };
        const made = await client.call(createToken, { body, signal: cli.signal });
        answer(cli, made, () => {
          const until = made.expiresAt === undefined ? "until it is revoked" : `until ${made.expiresAt}`;
          cli.say(
            `Token ${made.name} (${made.permissions.join(", ")}), good ${until}. It is shown this once; elsewhere:`,
          );
          cli.say(`  flynn cluster add ${cluster.name} ${cluster.url} - --pin ${cluster.pin}   # the token on stdin`);
          cli.print(made.token);
        });
      }),
  },
  {
    words: "token list",
    summary: "List access tokens",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listTokens, { signal: call.cli.signal }), {
          titles: ["NAME", "PERMISSIONS", "EXPIRES", "LAST USED", "MADE BY", "AGE", "ID"],
          row: (token) => [
            token.name,
            token.permissions.join(","),
            expiry(token.expiresAt),
            token.lastUsedAt === undefined ? "never" : `${age(token.lastUsedAt)} ago`,
            token.createdBy ?? "",
            age(token.createdAt),
            token.id,
          ],
          none: "there is no token",
        }),
      ),
  },
  {
    words: "token revoke",
    summary: "Revoke an access token: its next request is refused",
    args: [{ name: "NAME", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const [id] = call.args as [string];
        await client.call(revokeToken, { params: { id }, signal: call.cli.signal });
        answer(call.cli, { id }, () => call.cli.print(`Token ${id} revoked.`));
      }),
  },
];

const expiry = (at: string | undefined): string =>
  at === undefined ? "never" : Date.parse(at) < Date.now() ? "expired" : at.slice(0, 16).replace("T", " ");
