// Every flag of `flynn up` and `flynn down` reaches the setting it names, and no other.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { upCommands } from "../../../cli/commands/up.ts";
import type { Command, Invocation } from "../../../cli/parse/command.ts";
import type { UpConfig } from "../../../cli/up/config.ts";
import { configOf } from "../../../cli/up/configure.ts";
import { invoke } from "../invoke.ts";

const directory = await mkdtemp(join(tmpdir(), "flynn-configure-"));

/** The settings that a command is given its flags for. Nothing is started. */
async function settings(words: string, flags: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<UpConfig> {
  let config: UpConfig | undefined;
  const run = async (call: Invocation): Promise<void> => {
    config = configOf(call);
  };
  const commands = upCommands.map((command): Command => ({ ...command, run }));
  const { code, err } = await invoke([words, ...flags], { commands, env: { HOME: directory, ...env } });
  assert.is(code, 0, err);
  return config!;
}

const VALUES: Record<string, [values: string[], setting: Partial<UpConfig>]> = {
  interface: [["eth7"], { interface: "eth7" }],
  dhcp: [["full"], { dhcp: "full" }],
  "dhcp-anyway": [[], { dhcpAnyway: true }],
  "dhcp-range": [["10.0.0.1-10.0.0.9"], { dhcpRange: "10.0.0.1-10.0.0.9" }],
  "dhcp-router": [["10.0.0.254"], { dhcpRouter: "10.0.0.254" }],
  "dhcp-dns": [["10.0.0.2", "10.0.0.3"], { dhcpDns: ["10.0.0.2", "10.0.0.3"] }],
  "dhcp-ntp": [["10.0.0.4", "10.0.0.5"], { dhcpNtp: ["10.0.0.4", "10.0.0.5"] }],
  "dhcp-domain": [["lab.example.com"], { dhcpDomain: "lab.example.com" }],
  "dhcp-lease": [["12h"], { dhcpLease: "12h" }],
  "dhcp-reserve": [
    ["52:54:00:12:34:56=10.0.0.30", "52:54:00:12:34:57=10.0.0.31"],
    { dhcpReserve: ["52:54:00:12:34:56=10.0.0.30", "52:54:00:12:34:57=10.0.0.31"] },
  ],
  "dhcp-relay": [["10.8.0.1/24", "10.9.0.1/24"], { dhcpRelay: ["10.8.0.1/24", "10.9.0.1/24"] }],
  "unknown-machines": [["auto"], { unknownMachines: "auto" }],
  "disk-policy": [["find-empty"], { diskPolicy: "find-empty" }],
  address: [["10.0.0.7"], { address: "10.0.0.7" }],
  "app-domain": [["apps.test"], { appDomain: "apps.test" }],
  "build-ca": [["/ca.pem"], { buildCa: "/ca.pem" }],
  "build-proxy": [["http://proxy.test:1"], { buildProxy: "http://proxy.test:1" }],
  "build-no-proxy": [["a.test,b.test"], { buildNoProxy: "a.test,b.test" }],
  "build-env": [["A=1", "B=2"], { buildEnv: ["A=1", "B=2"] }],
  "drain-allow": [["10.1.0.0/16", "10.2.0.0/16"], { drainAllow: ["10.1.0.0/16", "10.2.0.0/16"] }],
  "app-network": [["cluster"], { appNetwork: "cluster" }],
  "app-egress": [["none"], { appEgress: "none" }],
  "boot-networks": [["10.3.0.0/16", "10.4.0.0/16"], { bootNetworks: ["10.3.0.0/16", "10.4.0.0/16"] }],
  "bmc-networks": [["10.5.0.0/16", "10.6.0.0/16"], { bmcNetworks: ["10.5.0.0/16", "10.6.0.0/16"] }],
  "trusted-fronts": [["10.1.0.0/16", "2001:db8::/32"], { trustedFronts: ["10.1.0.0/16", "2001:db8::/32"] }],
  "proxy-sources": [["10.1.0.9", "::1"], { proxySources: ["10.1.0.9", "::1"] }],
  "cluster-range": [["100.64.0.0/12"], { clusterRange: "100.64.0.0/12" }],
  "host-net": [["22"], { hostNet: 22 }],
  "free-floor": [["3GiB"], { freeFloor: "3GiB" }],
  "app-git-limit": [["4GiB"], { appGitLimit: "4GiB" }],
  "app-source-limit": [["5GiB"], { appSourceLimit: "5GiB" }],
  "app-image-limit": [["6GiB"], { appImageLimit: "6GiB" }],
  "image-limit": [["7GiB"], { imageLimit: "7GiB" }],
  "http-port": [["8080"], { httpPort: 8080 }],
  "https-port": [["8443"], { httpsPort: 8443 }],
  "no-host": [[], { host: false }],
  "no-ssh": [[], { ssh: false }],
  images: [["/images"], { imagesDir: "/images" }],
  state: [["/state"], { stateDir: "/state", imagesDir: "/state/images" }],
  salvage: [[], { salvage: true }],
};
/** No settings: where the others are (shown below), and what is done with them. */
const SPECIAL = ["config", "install", "uninstall"];

const flagsOf = (words: string) => upCommands.find((command) => command.words === words)?.flags ?? [];
const argv = (name: string, values: readonly string[]) =>
  values.length === 0 ? [`--${name}`] : values.flatMap((value) => [`--${name}`, value]);

for (const words of ["up", "down"])
  for (const { name, value, repeat } of flagsOf(words).filter((flag) => !SPECIAL.includes(flag.name)))
    test(`flynn ${words} --${name} sets what it names, and nothing else`, async () => {
      assert.ok(VALUES[name], `--${name} is new: give it a value here, and its setting in cli/up/configure.ts`);
      const [values, setting] = VALUES[name];
      assert.is(values.length > 0, value !== undefined, "a switch takes no value, any other flag one");
      assert.is(values.length > 1, repeat === true, "what may be repeated is");
      const plain = await settings(words, []);
      for (const [key, given] of Object.entries(setting))
        assert.not.equal(plain[key as keyof UpConfig], given, `${key} is not so by itself`);
      assert.equal(await settings(words, argv(name, values)), { ...plain, ...setting });
    });

test("a file has the same settings, the environment goes before it, and a flag before both", async () => {
  const file = join(directory, "up.yaml");
  await writeFile(file, "appDomain: file.test\nhttpPort: 81\nhttpsPort: 444\n");
  const env = { FLYNN_UP_HTTP_PORT: "82", FLYNN_UP_HTTPS_PORT: "445" };
  const config = await settings("up", ["--config", file, "--https-port", "446"], env);
  assert.equal([config.appDomain, config.httpPort, config.httpsPort], ["file.test", 82, 446]);
});

const WRONG: [argv: string[], said: RegExp][] = [
  [
    ["--dhcp-reserve", "node-1=10.0.0.30"],
    /--dhcp-reserve .*must be MAC=ADDRESS, such as 52:54:00:12:34:56=10.20.0.30/,
  ],
  [["--dhcp-domain", "Lab!"], /--dhcp-domain Lab!: must be a domain/],
  [["--dhcp", "both"], /--dhcp both: must be proxy, full or auto/],
  [["--app-egress", "some"], /--app-egress some: must be all, internet or none/],
  [["--free-floor", "2xB"], /--free-floor 2xB: must be a size, such as 2GiB/],
  [["--drain-allow", "ten"], /--drain-allow ten: must be a range of addresses, such as 10\.0\.0\.0\/8/],
  [["--build-env", "foo"], /--build-env foo: must be NAME=VALUE/],
  [["--app-domain", "not_a_domain"], /--app-domain not_a_domain: must be a domain.*apps\.example\.com/],
  [["--boot-networks", "10.20.0.0"], /--boot-networks 10\.20\.0\.0: must be a network.*10\.20\.0\.0\/24/],
  [["--cluster-range", "big"], /--cluster-range big: must be a network between/],
  [["--host-net", "20"], /--host-net 20: must be a whole number from 22 to 26/],
  [["--host-net", "big"], /--host-net big: must be a whole number from 22 to 26/],
  [["--http-port", "http"], /--http-port http: must be a whole number from 1 to 65535/],
];
for (const [argv, said] of WRONG)
  test(`flynn up ${argv.join(" ")} is refused with the flag, the value and what is taken`, async () => {
    const commands = upCommands.map((command): Command => ({ ...command, run: async (call) => void configOf(call) }));
    const { code, err } = await invoke(["up", ...argv], { commands });
    assert.is(code, 2);
    assert.match(err, said);
    assert.not.match(err, /\^|\\d|schema|allowed values/, "no pattern and no words of the schema's");
  });

test("a port that is no number is refused", async () => {
  const commands = upCommands.map((command): Command => ({ ...command, run: async (call) => void configOf(call) }));
  for (const port of ["http", "", "8080x", "70000"])
    assert.is((await invoke(["up", "--http-port", port], { commands })).code, 2, port);
});

test.after(() => rm(directory, { recursive: true, force: true }));
test.run();
