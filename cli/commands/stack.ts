// stack: the images that apps are built in and run on. Made by images/main.ts as a child process, then sent to the cluster.
import { createReadStream } from "node:fs";
import { join } from "node:path";
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { getStack, type Stack, type StackImage, type StackPart, setStack, uploadStackImage } from "#api/stack.ts";
import { formatSize } from "#lib/units.ts";
import { runImageBuilder } from "../clone/image-builder.ts";
import { withCluster } from "../clusters/connect.ts";
import { age, answer } from "../output/answer.ts";
import { counting, progress } from "../output/progress.ts";
import type { Cli, Command, Flag, Invocation } from "../parse/command.ts";

/** What images/main.ts prints on stdout. */
interface Built {
  name: string;
  runner: { path: string; sizeBytes: number; unpackedBytes: number };
  builder: { path: string; sizeBytes: number; unpackedBytes: number };
  reused: boolean;
  seconds: number;
}

/** Silence of the server after the last byte: it copies the image into its registry then. */
const STORE_MS = 30 * 60_000;
const ROOT_CACHE = "/var/cache/flynn/stack";

const BUILD_FLAGS: readonly Flag[] = [
  { name: "offline", help: "Use the packages of the last build; ask no archive" },
  { name: "no-upload", help: "Only make the images; change nothing on the cluster" },
  { name: "cache", value: "DIR", help: `Where images stay between builds (root: ${ROOT_CACHE})` },
  { name: "state", value: "DIR", help: "State directory of the appliance" },
  { name: "config", value: "FILE", help: "Config file of the appliance" },
];

export const stackCommands: readonly Command[] = [
  {
    words: "stack build",
    summary: "Make the images that apps are built in and run on, and give them to the cluster",
    more: [
      "A cluster needs this once before the first push, and again to take in newer Debian packages:",
      "  flynn stack build",
      "",
      "Takes some minutes, needs root and the package archives that this machine uses; what was made is kept,",
      "so that the next time only what changed is made. Apps built before run on unchanged until their next build.",
    ].join("\n"),
    flags: BUILD_FLAGS,
    needsClone: true,
    run: build,
  },
  {
    words: "stack show",
    summary: "Show the images that builds use, and since when",
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const stack = await client.call(getStack, { signal: cli.signal });
        answer(cli, stack, () => {
          cli.print(`${stack.name}, since ${age(stack.createdAt) || "now"}`);
          for (const part of ["builder", "runner"] as const)
            cli.print(`${part.padEnd(8)} ${stack[part].repository}@${stack[part].digest}`);
          for (const { part, digest, at } of stack.superseded)
            cli.print(`${part.padEnd(8)} ${digest} was replaced ${age(at)} ago`);
        });
      }),
  },
];

async function build(call: Invocation): Promise<void> {
  const { cli } = call;
  // Minutes of building are not to end with no place to send it to.
  if (!call.on("no-upload")) await withCluster(call, (client) => currentStack(client, cli));
  const cacheDirectory = call.text("cache") ?? (await defaultCache(call));
  const argv = ["stack", "--cache", cacheDirectory, ...(call.on("offline") ? ["--offline"] : [])];
  const built = await runImageBuilder<Built>(argv, cli);
  const stack = call.on("no-upload") ? undefined : await withCluster(call, (client) => upload(client, built, cli));
  answer(cli, { ...built, stack }, () => {
    const size = ({ unpackedBytes, sizeBytes }: Built["runner"]) =>
      `${formatSize(unpackedBytes)} (${formatSize(sizeBytes)} packed)`;
    cli.print(
      `${built.reused ? "Reused" : "Built"} stack ${built.name}: runner ${size(built.runner)}, builder ${size(built.builder)}`,
    );
    if (stack) cli.print(`Builds use the stack ${stack.name} from now on`);
    else cli.print(`${built.runner.path}\n${built.builder.path}`);
  });
}

async function defaultCache(call: Invocation): Promise<string> {
  if (process.getuid?.() === 0 && call.text("state") === undefined) return ROOT_CACHE;
  const { configOf } = await import("../up/configure.ts");
  return join(configOf(call).stateDir, "stack-cache");
}

/** Both images, then the switch: a cluster never has half of a new stack. */
async function upload(client: Client, built: Built, cli: Cli): Promise<Stack> {
  const runner = await send(client, "runner", built.runner, cli);
  const builder = await send(client, "builder", built.builder, cli);
  const body = { name: built.name, builder: builder.digest, runner: runner.digest };
  const before = await currentStack(client, cli);
  const same = (["builder", "runner"] as const).every((part) => before?.[part].digest === body[part]);
  return before !== undefined && same && before.name === body.name
    ? before
    : await client.call(setStack, { body, signal: cli.signal });
}

async function currentStack(client: Client, { signal }: Cli): Promise<Stack | undefined> {
  return client.call(getStack, { signal }).catch((error: unknown) => {
    if (isFault(error, "not-found")) return undefined;
    throw error;
  });
}

async function send(client: Client, part: StackPart, file: Built["runner"], cli: Cli): Promise<StackImage> {
  const shown = progress(cli);
  const counted = counting(shown, {
    what: `uploading the ${part}`,
    totalBytes: file.sizeBytes,
    after: `the cluster puts the ${part} into its registry`,
  });
  const archive = createReadStream(file.path);
  archive.on("error", (cause) => counted.destroy(new Fault("invalid", `read ${file.path}`, { cause })));
  try {
    return await client.call(uploadStackImage, {
      query: { part },
      upload: archive.pipe(counted),
      timeoutMs: STORE_MS,
      signal: cli.signal,
    });
  } finally {
    shown.end();
    archive.destroy();
  }
}
