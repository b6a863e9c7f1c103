// key: the SSH keys that may push.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Fault } from "#api/fault.ts";
import { addKey, listKeys, removeKey } from "#api/keys.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { homeOf } from "../clusters/home.ts";
import { age, answer, answerList } from "../output/answer.ts";
import type { Cli, Command } from "../parse/command.ts";

const USUAL = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
const FILE_MOST_CHARACTERS = 8_192;

export const keyCommands: readonly Command[] = [
  {
    words: "key add",
    summary: "Let an SSH key push to and fetch from every app's repository",
    more: "FILE is a public key; left out, the first of ~/.ssh/id_ed25519.pub, id_ecdsa.pub, id_rsa.pub. - reads stdin.\nPushing over HTTPS needs no key: `flynn cluster add` sets that up.",
    args: [{ name: "FILE", offers: "files" }],
    flags: [{ name: "name", short: "n", value: "NAME", help: "What to call it; else its comment" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const publicKey = await publicKeyText(cli, call.args[0]);
        const name = call.text("name");
        const key = await client.call(addKey, { body: { publicKey, ...(name ? { name } : {}) }, signal: cli.signal });
        answer(cli, key, () => cli.print(`Key ${key.name} (${key.fingerprint}) added.`));
      }),
  },
  {
    words: "key list",
    summary: "List the SSH keys that may push",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listKeys, { signal: call.cli.signal }), {
          titles: ["NAME", "TYPE", "FINGERPRINT", "ADDED BY", "AGE"],
          row: (key) => [key.name, key.type, key.fingerprint, key.createdBy, age(key.createdAt)],
          none: "no key may push over SSH yet; add yours: flynn key add",
        }),
      ),
  },
  {
    words: "key remove",
    summary: "Remove an SSH key; its next connection is refused",
    args: [{ name: "NAME", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const [id] = call.args as [string];
        await client.call(removeKey, { params: { id }, signal: call.cli.signal });
        answer(call.cli, { id }, () => call.cli.print(`Key ${id} removed.`));
      }),
  },
];

async function publicKeyText(cli: Cli, given: string | undefined): Promise<string> {
  if (given === "-") return checked((await cli.readStdin()).trim(), "stdin");
  const home = join(homeOf(cli.env), ".ssh");
  const files = given === undefined ? USUAL.map((name) => join(home, name)) : [resolve(cli.cwd, given)];
  for (const file of files) {
    try {
      return checked((await readFile(file, "utf8")).trim(), file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw new Fault(
    "not-found",
    given === undefined
      ? `there is no public key in ${home}; ssh-keygen -t ed25519 makes one`
      : `there is no file ${given}`,
  );
}

/** A private key must not leave this machine, not even to be refused. */
function checked(text: string, from: string): string {
  if (text.includes("PRIVATE KEY"))
    throw new Fault("invalid", `${from} is a private key: keep it to yourself, and give the file that ends in .pub`);
  if (text.length > FILE_MOST_CHARACTERS) throw new Fault("invalid", `${from} is no public key: it is too long`);
  return text;
}
