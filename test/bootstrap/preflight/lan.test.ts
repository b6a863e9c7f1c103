// time limit: 240 s
// The question which DHCP servers are there, on a LAN of its own with dnsmasq as the network's own server and as a rogue one.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { DhcpServer } from "#api/dhcp-servers.ts";
import { ExecError } from "#lib/exec.ts";
import { type Lan, type LanHost, openLan } from "../../lab/network.ts";
import { openScope, type Scope, withScope } from "../../lab/scope.ts";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const main = here("../../../bootstrap/preflight/main.ts");
const cli = here("../../../cli/main.ts");
const file = await openScope();
test.after(() => file.close());

async function ask(lan: Lan): Promise<DhcpServer[]> {
  const argv = [process.execPath, main, "--interface", lan.bridge, "--address", lan.ip];
  return JSON.parse((await lan.exec(argv, { timeoutMs: 60_000 })).stdout) as DhcpServer[];
}

async function dnsmasq(scope: Scope, host: LanHost, more: string[]): Promise<void> {
  const folder = join(scope.folder, host.name);
  await mkdir(folder, { recursive: true });
  const conf = join(folder, "dnsmasq.conf");
  await writeFile(
    conf,
    ["port=0", "bind-interfaces", "no-ping", "user=root", "log-dhcp", `dhcp-leasefile=${folder}/leases`, ...more].join(
      "\n",
    ),
  );
  const argv = [
    "dnsmasq",
    "--keep-in-foreground",
    `--conf-file=${conf}`,
    `--pid-file=${folder}/pid`,
    "--log-facility=-",
  ];
  const server = await host.spawn(argv, { name: host.name });
  await server.waitFor(/DHCP, (IP range|proxy)/, 20_000);
}

/** `flynn doctor network`, as root on the appliance's machine. */
async function doctor(scope: Scope, lan: Lan, ...more: string[]): Promise<{ code: number; out: string }> {
  const argv = [
    process.execPath,
    cli,
    "doctor",
    "network",
    "--interface",
    lan.bridge,
    "--state",
    scope.folder,
    ...more,
  ];
  const env = { PATH: process.env["PATH"], HOME: scope.folder };
  return lan.exec(argv, { env, timeoutMs: 90_000 }).then(
    ({ stdout }) => ({ code: 0, out: stdout }),
    (error: unknown) => {
      if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
      return { code: error.exitCode, out: `${error.stdout}${error.stderr}` };
    },
  );
}

test("nobody on the LAN is nobody heard, and the doctor says that machines get no address there", () =>
  withScope(async (scope) => {
    const lan = await openLan(scope);
    assert.equal(await ask(lan), []);
    const { code, out } = await doctor(scope, lan);
    assert.is(code, 1, out);
    assert.match(out, new RegExp(`no other DHCP server answers on ${lan.bridge}`));
    assert.match(out, /nobody gives machines there an address/);
  }));

test("the LAN's own server is heard with its card and what it gives; a proxy beside it with what it boots", () =>
  withScope(async (scope) => {
    const lan = await openLan(scope);
    const router = await lan.host("router", "10.77.0.9");
    await dnsmasq(scope, router, ["dhcp-range=10.77.0.100,10.77.0.120,1h", "dhcp-option=3,10.77.0.9"]);
    const [server, ...more] = await ask(lan);
    assert.equal(more, []);
    assert.equal(
      [server!.address, server!.card, server!.router, server!.boots],
      ["10.77.0.9", router.mac, "10.77.0.9", false],
    );
    assert.match(server!.gives!, /^10\.77\.0\.1[012]\d$/);
    const well = await doctor(scope, lan);
    assert.is(well.code, 0, well.out);
    assert.match(well.out, /10\.77\.0\.9 \(card .*\) gives addresses such as 10\.77\.0\.1/);

    const rogue = await lan.host("rogue", "10.77.0.8");
    await dnsmasq(scope, rogue, [
      "dhcp-range=10.77.0.0,proxy",
      "pxe-service=X86-64_EFI,rogue,rogue.efi",
      "dhcp-boot=rogue.efi",
    ]);
    const both = await ask(lan);
    assert.equal(
      both.map(({ address, boots }) => [address, boots]),
      [
        ["10.77.0.8", true],
        ["10.77.0.9", false],
      ],
    );
    const ill = await doctor(scope, lan);
    assert.is(ill.code, 1);
    assert.match(ill.out, /another DHCP server on .* tells machines what to boot as well: 10\.77\.0\.8/);
  }));

test("flynn up refuses full mode beside a server that gives addresses, in words, before it starts anything", () =>
  withScope(async (scope) => {
    const lan = await openLan(scope);
    const router = await lan.host("router", "10.77.0.9");
    await dnsmasq(scope, router, ["dhcp-range=10.77.0.100,10.77.0.120,1h"]);
    const state = join(scope.folder, "state");
    const argv = [process.execPath, cli, "up", "--interface", lan.bridge, "--state", state, "--no-host", "--no-ssh"];
    const full = ["--dhcp", "full", "--dhcp-range", "10.77.0.50-10.77.0.60"];
    const env = { PATH: process.env["PATH"], HOME: scope.folder };
    const refused = await lan.exec([...argv, ...full], { env, timeoutMs: 90_000 }).then(
      () => "it started",
      (error: ExecError) => error.stderr,
    );
    assert.match(refused, /asking on .* which DHCP servers answer/);
    assert.match(
      refused,
      /flynn up cannot start:\n {2}- --dhcp full on .*another DHCP server gives addresses there: 10\.77\.0\.9/,
    );
    assert.match(refused, /--dhcp proxy.*--dhcp-anyway/);
    assert.not.match(refused, /control is up/);
  }));

test.run();
