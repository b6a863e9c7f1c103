// machine bmc: how a machine is switched. The password is asked for and not shown, and a certificate that nobody knows is accepted by a
// person, or by --pin.
import type { Client } from "#api/client.ts";
import { Fault } from "#api/fault.ts";
import { getMachine, type Machine } from "#api/machines.ts";
import {
  type Bmc,
  type BmcLook,
  BootBy,
  deleteMachineBmc,
  getMachineBmc,
  lookAtMachineBmc,
  type PutBmc,
  putMachineBmc,
} from "#api/power.ts";
import { withCluster } from "../clusters/connect.ts";
import { choice } from "../machines/choice.ts";
import { age, answer } from "../output/answer.ts";
import { progress } from "../output/progress.ts";
import { printFacts } from "../output/table.ts";
import { paint } from "../output/text.ts";
import type { Cli, Command, Invocation } from "../parse/command.ts";
import { readTextFile } from "../parse/read-file.ts";

const MACHINE = { name: "MACHINE", required: true, offers: "machines" } as const;
const LOOK_MS = 90_000;

export const bmcCommands: readonly Command[] = [
  {
    words: "machine bmc set",
    summary: "Say how a machine is switched: a BMC by Redfish or IPMI, or Wake-on-LAN",
    more: [
      "  flynn machine bmc set node-1 --redfish https://10.0.0.9 --user root",
      "  flynn machine bmc set node-1 --ipmi 10.0.0.9 --user ADMIN --cipher-suite 3",
      "  flynn machine bmc set node-1 --wake",
      "",
      "The password is asked for; scripts give --password-file FILE, or - for stdin. It is kept sealed and never shown again.",
      "The boot server, which is on the machines' network, asks the BMC at once and says what it found.",
    ].join("\n"),
    args: [MACHINE],
    flags: [
      { name: "redfish", value: "URL", help: "Its BMC's Redfish service, https://HOST[:PORT]" },
      { name: "ipmi", value: "ADDRESS", help: "Its BMC, by IPMI 2.0 (RMCP+)" },
      { name: "wake", help: "It has no BMC: Wake-on-LAN switches it on" },
      { name: "user", value: "USER", help: "User of the BMC" },
      { name: "password-file", value: "FILE", help: "File that holds the password, - for stdin" },
      { name: "pin", value: "SHA256", help: "Accept this certificate of the Redfish service, and no other" },
      { name: "system", value: "ID", help: "Which of the Redfish service's systems it is" },
      { name: "boot-by", value: "WAY", help: "How its firmware is told to get to the boot server: pxe, http or media" },
      { name: "cipher-suite", value: "N", help: "IPMI: 17 unless given; old BMCs want 3" },
    ],
    run: set,
  },
  {
    words: "machine bmc show",
    summary: "Show how a machine is switched, without the password",
    args: [MACHINE],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const bmc = await client.call(getMachineBmc, { params: { id: call.args[0]! }, signal: cli.signal });
        answer(cli, bmc, () => show(cli, bmc));
      }),
  },
  {
    words: "machine bmc remove",
    summary: "Forget how a machine is switched, the credential too",
    args: [MACHINE],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const machine = await client.call(getMachine, { params: { id: call.args[0]! }, signal: cli.signal });
        await client.call(deleteMachineBmc, { params: { id: machine.id }, signal: cli.signal });
        answer(cli, { machine: machine.name }, () =>
          cli.print(`How ${machine.name} is switched was forgotten, and its BMC's password with it.`),
        );
      }),
  },
];

function show(cli: Cli, bmc: Bmc): void {
  const { lastLook: look } = bmc;
  printFacts(cli, [
    ["Switched by", bmc.kind],
    ["Address", bmc.address],
    ["User", bmc.user],
    ["Password", bmc.kind === "wake" ? undefined : bmc.passwordSet ? "kept sealed" : "not set"],
    ["Warning", bmc.factoryPassword ? "user and password are the factory's: change them" : undefined],
    ["Certificate", bmc.pinSha256],
    ["System", bmc.systemId],
    ["Boots by", bmc.bootBy],
    ["Cipher suite", bmc.cipherSuite === undefined ? undefined : String(bmc.cipherSuite)],
    ["Set", `${bmc.setAt} by ${bmc.setBy}`],
    ["Last look", look && `${look.message} (${age(look.at)} ago)`],
  ]);
}

async function set(call: Invocation): Promise<void> {
  const { cli } = call;
  const asked = settings(call);
  await withCluster(call, async (client) => {
    const machine = await client.call(getMachine, { params: { id: call.args[0]! }, signal: cli.signal });
    const params = { id: machine.id };
    const secret = asked.kind === "wake" ? undefined : await password(call, machine);
    const body: PutBmc = { ...asked, ...(secret === undefined ? {} : { password: secret }) };
    let bmc = await client.call(putMachineBmc, { params, body, signal: cli.signal });
    if (bmc.factoryPassword)
      cli.say(
        `${paint("WARNING:", "yellow", cli.colour.err)} that is what BMCs leave their factory with: whoever reaches ${bmc.address} switches ${machine.name}`,
      );
    if (bmc.kind === "redfish" && bmc.pinSha256 === undefined) {
      const pinSha256 = await accepted(call, client, machine);
      bmc = await client.call(putMachineBmc, { params, body: { ...asked, pinSha256 }, signal: cli.signal });
    }
    const found = bmc.kind === "wake" ? undefined : await look(cli, client, machine);
    answer(cli, found === undefined ? bmc : { ...bmc, lastLook: found }, () => {
      const how =
        bmc.kind === "wake" ? "Wake-on-LAN, which switches it on and not off" : `${bmc.kind} at ${bmc.address}`;
      cli.print(`${machine.name} is switched by ${how}${found === undefined ? "" : `; ${found.message}`}.`);
    });
  });
}

function settings(call: Invocation): Omit<PutBmc, "password"> {
  const [redfish, ipmi, wake] = [call.text("redfish"), call.text("ipmi"), call.on("wake")];
  if ([redfish !== undefined, ipmi !== undefined, wake].filter(Boolean).length !== 1)
    throw new Fault("invalid", "say how it is switched, one of: --redfish URL, --ipmi ADDRESS, --wake");
  const [user, pin, system, suite] = [
    call.text("user"),
    call.text("pin"),
    call.text("system"),
    call.text("cipher-suite"),
  ];
  if (wake) return { kind: "wake" };
  if (user === undefined) throw new Fault("invalid", "--user: the BMC's user is needed");
  const bootBy = choice<BootBy>(call, "boot-by", BootBy);
  const more = {
    user,
    ...(bootBy === undefined ? {} : { bootBy }),
    ...(pin === undefined ? {} : { pinSha256: pin.replaceAll(":", "").toLowerCase() }),
    ...(system === undefined ? {} : { systemId: system }),
    ...(suite === undefined ? {} : { cipherSuite: Number(suite) }),
  };
  return redfish === undefined
    ? { kind: "ipmi", address: ipmi!, ...more }
    : { kind: "redfish", address: addressOf(redfish), ...more };
}

/** `https://10.0.0.9/` or `10.0.0.9`. */
function addressOf(text: string): string {
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  if (url === null || url.host === "") throw new Fault("invalid", `--redfish ${text}: is no address; https://10.0.0.9`);
  if (url.protocol !== "https:")
    throw new Fault("invalid", `--redfish ${text}: only https is spoken; a password over http is everybody's`);
  if (url.username !== "" || url.password !== "")
    throw new Fault("invalid", "--redfish: user and password do not belong into the address; --user USER");
  return url.host;
}

async function password(call: Invocation, { name }: Machine): Promise<string | undefined> {
  const { cli } = call;
  const file = call.text("password-file");
  const text =
    file === undefined
      ? cli.terminal.in
        ? await cli.askSecret(
            `Password of ${call.text("user")} at the BMC of ${name} (not shown; empty keeps the one that is set): `,
          )
        : ""
      : file === "-"
        ? await cli.readStdin()
        : await readTextFile(file, cli.cwd);
  const line = text.replace(/\r?\n$/, "");
  return line === "" ? undefined : line;
}

async function accepted(call: Invocation, client: Client, machine: Machine): Promise<string> {
  const { cli } = call;
  const { pinSha256 } = await look(cli, client, machine);
  if (pinSha256 === undefined) throw new Fault("unavailable", `the BMC of ${machine.name} shows no certificate`);
  cli.say(`The BMC of ${machine.name} shows a certificate with sha256`);
  cli.say(`  ${pinSha256}`);
  cli.say("Compare it with what the BMC's own page or console shows: whoever stands between would show another.");
  if (!cli.terminal.in)
    throw new Fault(
      "invalid",
      `there is no terminal to ask on; to accept it: --pin ${pinSha256}. No password was sent`,
    );
  const typed = (await cli.ask("To accept it for ever, type yes: ")).trim();
  if (typed !== "yes") throw new Fault("invalid", "the certificate was not accepted; no password was sent");
  return pinSha256;
}

async function look(cli: Cli, client: Client, machine: Machine): Promise<BmcLook> {
  const shown = progress(cli);
  shown.step(`the boot server asks the BMC of ${machine.name}`);
  try {
    const params = { id: machine.id };
    const found = await client.call(lookAtMachineBmc, { params, body: {}, timeoutMs: LOOK_MS, signal: cli.signal });
    if (!found.ok) throw new Fault("unavailable", `it was written down, but: ${found.message}`);
    return found;
  } finally {
    shown.end();
  }
}
