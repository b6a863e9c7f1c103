// profile: what machines boot and how: image, kernel arguments, tags, disk policy, SSH keys.
import { readFile } from "node:fs/promises";
import { deleteProfile, getProfile, listProfiles, type Profile, renderProfile } from "#api/boot.ts";
import { Fault } from "#api/fault.ts";
import { changeProfile } from "../apps/change-app.ts";
import { tagChanges } from "../apps/tag-changes.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer, answerList } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import { printFacts } from "../output/table.ts";
import { plain } from "../output/text.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";
import { DISK_FLAGS, diskPolicy, diskText } from "./disk-policy.ts";

const PROFILE = { name: "PROFILE", required: true } as const;

export const profileCommands: readonly Command[] = [
  {
    words: "profile list",
    summary: "List profiles",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listProfiles, { signal: call.cli.signal }), {
          titles: ["NAME", "IMAGE", "DISK", "TAGS", "CMDLINE"],
          row: (profile) => [
            profile.name,
            profile.image,
            diskText(profile.diskPolicy),
            tagText(profile),
            profile.cmdline.join(" "),
          ],
          none: "there are no profiles",
        }),
      ),
  },
  {
    words: "profile show",
    summary: "Show a profile",
    args: [PROFILE],
    run: (call) =>
      withCluster(call, async (client) => {
        const [name] = call.args as [string];
        show(call.cli, await client.call(getProfile, { params: { name }, signal: call.cli.signal }));
      }),
  },
  {
    words: "profile render",
    summary: "Show what a machine of a profile would get to start with, without secrets",
    args: [PROFILE],
    run: (call) =>
      withCluster(call, async (client) => {
        const [name] = call.args as [string];
        const rendered = await client.call(renderProfile, { params: { name }, signal: call.cli.signal });
        answer(call.cli, rendered, () => {
          const shown = (text: string) => (call.cli.terminal.out ? plain(text, { lines: true }) : text);
          call.cli.print(shown(rendered.userData.trimEnd()));
          if (rendered.cmdline.length > 0)
            call.cli.print(shown(`# kernel command line: ${rendered.cmdline.join(" ")}`));
        });
      }),
  },
  {
    words: "profile set",
    summary: "Make a profile, or change the parts of it that are given",
    more: [
      "  flynn profile set storage --disk find-empty --min-disk 100GiB --tag disk=ssd",
      "  flynn profile set default --cmdline console=ttyS0 --cmdline quiet",
      "",
      "  flynn profile set default --cloud-config own.yaml --ssh-key-file ~/.ssh/id_ed25519.pub",
      "",
      "--cmdline, --ssh-key-file and --cloud-config replace what there was: an empty file, or --cmdline none, clears it.",
      "--tag changes single tags (name- removes one).",
      "A cloud-config of your own may have bootcmd, runcmd, write_files, users, groups, ca_certs, timezone and phone_home.",
    ].join("\n"),
    args: [PROFILE],
    flags: [
      { name: "image", value: "ID", help: "Boot image, or `current`" },
      {
        name: "cmdline",
        value: "WORD",
        help: "Word for the kernel's command line; `none` alone: no word",
        repeat: true,
      },
      { name: "tag", value: "K=V", help: "Tag of the hosts it makes; K- removes it", repeat: true },
      ...DISK_FLAGS,
      {
        name: "install",
        value: "WHERE",
        help: "disk: machines boot from the disk of the policy, without a network. none: every boot comes from the network",
      },
      {
        name: "secrets",
        value: "PLACE",
        help: "disk: jobs' variables are kept on the state disk. ram: never on a disk; after a reboot jobs wait for control",
      },
      {
        name: "ssh-key-file",
        value: "FILE",
        help: "Public keys that log in as root on hosts it makes; an empty file removes them",
        repeat: true,
      },
      { name: "cloud-config", value: "FILE", help: "cloud-config (YAML) to add to ours; an empty file removes it" },
    ],
    run: set,
  },
  {
    words: "profile remove",
    summary: "Delete a profile no machine uses",
    args: [PROFILE],
    flags: CONFIRM_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const name = call.args[0]!;
        await client.call(getProfile, { params: { name }, signal: call.cli.signal });
        await confirm(call, name, `profile ${name} and its settings are lost.`);
        await client.call(deleteProfile, { params: { name }, signal: call.cli.signal });
        answer(call.cli, { name }, () => call.cli.print(`Profile ${name} removed.`));
      }),
  },
];

async function set(call: Invocation): Promise<void> {
  const { cli, text, texts } = call;
  const name = call.args[0]!;
  const keyFiles = texts("ssh-key-file");
  const sshKeys = (await Promise.all(keyFiles.map(publicKeys))).flat();
  const cmdline = texts("cmdline");
  const own = text("cloud-config");
  const cloudConfig = own === undefined ? undefined : await ownConfig(own);
  const changed = ({ cloudConfig: ownBefore, ...before }: Profile): Profile => {
    const kept = cloudConfig ?? ownBefore ?? "";
    const tags = Object.entries({ ...before.tags, ...tagChanges(texts("tag")) });
    return {
      ...before,
      image: text("image") ?? before.image,
      cmdline: isNone(cmdline) ? [] : cmdline.length > 0 ? cmdline : before.cmdline,
      tags: Object.fromEntries(tags.filter((tag): tag is [string, string] => tag[1] !== null)),
      sshKeys: keyFiles.length > 0 ? sshKeys : before.sshKeys,
      diskPolicy: diskPolicy(call, before.diskPolicy),
      ...installation(call),
      ...secretsPlace(call),
      ...(kept === "" ? {} : { cloudConfig: kept }),
    };
  };
  await withCluster(call, async (client) => {
    const { profile, made } = await changeProfile(client, { name, signal: cli.signal }, changed);
    cli.say(`Profile ${name} ${made ? "made; no profile had that name" : "changed"}.`);
    show(cli, profile);
  });
}

const isNone = (words: readonly string[]): boolean => words.length === 1 && words[0] === "none";

function installation({ text }: Invocation): Pick<Profile, "install"> {
  const install = text("install");
  if (install === undefined) return {};
  if (install !== "disk" && install !== "none")
    throw new Fault("invalid", `--install ${install}: write --install disk or --install none`);
  return { install };
}

function secretsPlace({ text }: Invocation): Pick<Profile, "secrets"> {
  const secrets = text("secrets");
  if (secrets === undefined) return {};
  if (secrets !== "disk" && secrets !== "ram")
    throw new Fault("invalid", `--secrets ${secrets}: write --secrets ram or --secrets disk`);
  return { secrets };
}

async function publicKeys(file: string): Promise<string[]> {
  const content = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new Fault("invalid", `read SSH key ${file}`, { cause });
  });
  // The private half must never leave this machine by mistake.
  if (content.includes("PRIVATE KEY")) throw new Fault("invalid", `${file} is a private key; give its .pub file`);
  return content
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
}

/** Empty for none. */
async function ownConfig(file: string): Promise<string> {
  const content = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new Fault("invalid", `read cloud-config ${file}`, { cause });
  });
  return content.trim() === "" ? "" : content;
}

function show(cli: Cli, profile: Profile): void {
  answer(cli, profile, () =>
    printFacts(cli, [
      ["Name", profile.name],
      ["Image", profile.image],
      ["Disk", diskText(profile.diskPolicy)],
      ["Install", profile.install === "disk" ? "disk: boot images and state on the disk of the policy" : "none"],
      ["Secrets", profile.secrets ?? "disk"],
      ["Tags", tagText(profile)],
      ["Cmdline", profile.cmdline.join(" ")],
      [
        "Cloud-config",
        profile.cloudConfig === undefined ? "" : `${profile.cloudConfig.trimEnd().split("\n").length} lines`,
      ],
      ["SSH keys", profile.sshKeys.length > 0 ? String(profile.sshKeys.length) : ""],
    ]),
  );
}

const tagText = ({ tags }: Profile): string =>
  Object.entries(tags)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
