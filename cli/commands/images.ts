// image: boot images. They are built by images/main.ts as a child process, and registered by their signed manifest.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type BootImage, listBootImages, registerBootImage, rolloutBootImage } from "#api/boot.ts";
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { formatSize } from "#lib/units.ts";
import { runImageBuilder } from "../clone/image-builder.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { age, answer, answerList } from "../output/answer.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";

/** What images/main.ts prints on stdout. */
interface Built {
  directory: string;
  manifest: { id: string; architecture: string; memoryNeedBytes: number; squashfs: { sizeBytes: number } };
  reused: boolean;
  seconds: number;
}

const ARCHITECTURES: readonly string[] = ["amd64", "arm64"];

const BUILD_FLAGS: readonly Flag[] = [
  { name: "arch", value: "ARCH", help: "amd64 or arm64: of the machines that boot it; else this machine's" },
  { name: "uki", help: "Add one signed EFI program of kernel, initrd and command line, for Secure Boot with own keys" },
  { name: "uki-key", value: "FILE", help: "Key to sign it with (PEM); without, one is made beside the image key" },
  { name: "uki-cert", value: "FILE", help: "Certificate of that key (PEM), which firmware has to trust" },
  { name: "boot-server", value: "URL", help: "Whom its initrd asks; without, the server that DHCP names" },
  { name: "fast", help: "lz4 instead of zstd: quick to build, larger" },
  { name: "offline", help: "Use the packages of the last build; ask no archive" },
  { name: "rollout", help: "Make it the image that machines boot next" },
  { name: "state", value: "DIR", help: "State directory of the appliance" },
  { name: "images", value: "DIR", help: "Where images are kept" },
  { name: "config", value: "FILE", help: "Config file of the appliance" },
];

export const imageCommands: readonly Command[] = [
  {
    words: "image build",
    summary: "Build the boot image of hosts, sign it, and register it when the cluster answers",
    flags: BUILD_FLAGS,
    needsClone: true,
    run: build,
  },
  {
    words: "image register",
    summary: "Register a built image by its directory",
    args: [{ name: "DIRECTORY", required: true, offers: "files" }],
    flags: [{ name: "rollout", help: "Make it the image that machines boot next" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const image = await register(client, call.args[0]!, call.on("rollout"), cli.signal);
        answer(cli, image, () => cli.print(`Registered image ${image.id}${image.current ? " (current)" : ""}`));
      }),
  },
  {
    words: "image list",
    summary: "List boot images: their size and the memory a machine needs for them",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listBootImages, { signal: call.cli.signal }), {
          titles: ["ID", "NAME", "ARCH", "KERNEL", "KERNEL SIZE", "INITRD", "ROOT", "MEMORY NEED", "AGE", ""],
          row: (image) => [
            image.id,
            image.name,
            image.architecture,
            image.kernelVersion,
            formatSize(image.kernel.sizeBytes),
            formatSize(image.initrd.sizeBytes),
            formatSize(image.squashfs.sizeBytes),
            formatSize(image.memoryNeedBytes),
            age(image.createdAt),
            image.current ? "(current)" : "",
          ],
          none: "no boot image is registered; build one: flynn image build",
        }),
      ),
  },
  {
    words: "image rollout",
    summary: "Make an image the one that machines boot next",
    args: [{ name: "ID", required: true, offers: "images" }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const params = { id: call.args[0]! };
        const image = await client.call(rolloutBootImage, { params, body: {}, signal: cli.signal });
        answer(cli, image, () => cli.print(`Machines boot image ${image.id} next`));
      }),
  },
];

async function build(call: Invocation): Promise<void> {
  const { cli } = call;
  const { configOf } = await import("../up/configure.ts");
  const { stateDir, imagesDir } = configOf(call);
  const architecture = call.text("arch");
  if (architecture !== undefined && !ARCHITECTURES.includes(architecture))
    throw new Fault("invalid", `--arch is ${ARCHITECTURES.join(" or ")}, not ${architecture}`);
  const argv = [
    "build",
    ...["--out", imagesDir],
    ...["--cache", join(stateDir, "image-cache")],
    ...["--signing-key", join(stateDir, "image-signing")],
    ...["--loaders", join(stateDir, "loaders")],
    ...(architecture === undefined ? [] : ["--arch", architecture]),
    ...(call.on("uki") ? ["--uki"] : []),
    ...["uki-key", "uki-cert", "boot-server"].flatMap((name) => {
      const given = call.text(name);
      return given === undefined ? [] : [`--${name}`, given];
    }),
    ...(call.on("fast") ? ["--lz4"] : []),
    ...(call.on("offline") ? ["--offline"] : []),
  ];
  const built = await runImageBuilder<Built>(argv, cli);
  const { manifest, directory, reused } = built;
  const size = `root ${formatSize(manifest.squashfs.sizeBytes)}, needs ${formatSize(manifest.memoryNeedBytes)} of memory`;
  const registered = await registerIfReachable(call, directory);
  answer(cli, { ...built, registered: registered?.id }, () => {
    cli.print(`${reused ? "Reused" : "Built"} image ${manifest.id} in ${directory} (${size})`);
    if (registered) cli.print(`Registered image ${registered.id}${registered.current ? " (current)" : ""}`);
  });
}

async function registerIfReachable(call: Invocation, directory: string): Promise<BootImage | undefined> {
  try {
    return await withCluster(call, (client) => register(client, directory, call.on("rollout"), call.cli.signal));
  } catch (error) {
    if (!isFault(error, "unavailable") && !isFault(error, "not-found")) throw error;
    call.cli.say(`not registered: ${error.message}. When the appliance runs: flynn image register ${directory}`);
    return undefined;
  }
}

async function register(client: Client, directory: string, rollout: boolean, signal: AbortSignal): Promise<BootImage> {
  const [manifest, signature] = await Promise.all(
    ["manifest.json", "manifest.sig"].map((name) =>
      readFile(join(directory, name), "utf8").catch((cause: unknown) => {
        throw new Fault("invalid", `${directory} holds no built image`, { cause });
      }),
    ),
  );
  const image = await client.call(registerBootImage, { body: { manifest: manifest!, signature: signature! }, signal });
  return rollout && !image.current
    ? await client.call(rolloutBootImage, { params: { id: image.id }, body: {}, signal })
    : image;
}
