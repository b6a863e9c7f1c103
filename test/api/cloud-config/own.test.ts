// What a profile's own cloud-config may hold, and why not the rest. Whatever is taken here is right by cloud-init's own schema, of the
// version in the host image: asked of its JSON schema for generated documents, and of the program for written ones.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv } from "ajv";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { renderCloudConfig } from "#api/cloud-config/document.ts";
import { type OwnConfig, readOwn } from "#api/cloud-config/own.ts";
import { userData } from "#api/cloud-config/seed.ts";
import { isFault } from "#api/fault.ts";
import { ExecError, exec } from "#lib/exec.ts";

const parseYaml = (text: string): unknown => parse(text, { version: "1.1" });

const SCHEMA = "/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json";

const FULL = `#cloud-config
bootcmd:
- echo early
- [modprobe, nvme-tcp]
runcmd:
- [sh, -c, "echo hello > /etc/hello"]
- 'echo "a: b" | tee /etc/line'
write_files:
- path: /etc/motd
  content: |
    no: not a boolean
  permissions: "0644"
  owner: root:root
- path: /etc/blob
  encoding: b64
  content: aGVsbG8=
  append: true
- path: /etc/systemd/system/docker.service.d/proxy.conf
  content: "[Service]\\nEnvironment=HTTP_PROXY=http://proxy.example:3128\\n"
groups: [storage]
users:
- name: ops
  gecos: Operators
  groups: [storage, docker]
  shell: /bin/bash
  lock_passwd: false
  passwd: $6$abc$def/ghi
  ssh_authorized_keys:
  - ssh-ed25519 AAAAC3Nza ops@desk
ca_certs:
  trusted:
  - |
    -----BEGIN CERTIFICATE-----
    MIIB
    -----END CERTIFICATE-----
timezone: Europe/Berlin
phone_home:
  url: https://inventory.example/$INSTANCE_ID
  post: [hostname, instance_id]
  tries: 3
`;
const seedWith = (own: string) =>
  userData({
    ...{ bootId: "b", machineId: "m", hostname: "n", tags: {}, diskPolicy: { name: "ram", mode: "ram" } },
    ...{ sshKeys: ["ssh-ed25519 AAAA"], controlUrls: ["https://10.0.0.1:7777"], caPem: "pem", joinToken: "t" },
    own,
  });

const TAKEN: [what: string, text: string][] = [
  ["every key", FULL],
  ["one without its first line", "runcmd:\n- [echo, hello]\n"],
  ["an empty one", "#cloud-config\n"],
  ["one with anchors", "write_files:\n- &a {path: /etc/a, content: x}\n- {<<: *a, path: /etc/b}\n"],
  ["one in JSON", '{"timezone": "UTC"}'],
];
for (const [what, text] of TAKEN) test(`taken: ${what}`, () => assert.type(readOwn(text), "object"));

const REFUSED: [what: string, text: string, why: RegExp][] = [
  ["packages", "packages: [vim]", /packages: a host's root is in RAM and its packages are the image's/],
  [
    "a disk that is set up",
    "disk_setup: {}",
    /disks are written by the profile's disk policy alone: flynn profile set NAME --disk/,
  ],
  ["mounts", "mounts: [[a, b]]", /disk policy/],
  ["another name", "hostname: x", /hostname: a host is called as its machine/],
  ["keys at the top", "ssh_authorized_keys: [a]", /flynn profile set NAME --ssh-key-file FILE/],
  ["power off", "power_state: {mode: poweroff}", /switch hosts off under their jobs/],
  ["a network", "network: {version: 2}", /configured by DHCP/],
  ["time servers", "ntp: {}", /flynn up --dhcp-ntp/],
  ["other modules", "cloud_init_modules: []", /the platform's own/],
  ["a password in clear", "chpasswd: {}", /passwd \(a hash\)/],
  [
    "a key that nothing on a host does",
    "landscape: {}",
    /nothing on a host does it; there are bootcmd, runcmd, write_files/,
  ],
  ["a key that nobody knows", "run_cmd: [a]", /run_cmd: nothing on a host does it/],
  ["the deprecated spelling", "ca-certs: {trusted: [a]}", /write ca_certs/],
  ["two wrong ones at once", "packages: []\nntp: {}", /packages: .*; ntp: /],
  [
    "the agent's file",
    "write_files: [{path: /etc/flynn/hostd.json, content: x}]",
    /write_files\[0\]: .* \/etc\/flynn is the platform's own/,
  ],
  [
    "root's keys",
    "write_files: [{path: /root/.ssh/authorized_keys, content: x}]",
    /\/root\/.ssh is the platform's own/,
  ],
  [
    "a unit of ours",
    "write_files: [{path: /etc/systemd/system/flynn-hostd.service, content: x}]",
    /is a unit of the platform's/,
  ],
  [
    "a drop-in of ours",
    "write_files: [{path: /etc/systemd/system/docker.service.d/flynn.conf, content: x}]",
    /write_files/,
  ],
  ...[
    ["/lib/flynn/hostd", "/usr/lib/flynn"],
    ["/lib/systemd/network/1.network", "/usr/lib/systemd/network"],
    ["/usr/lib/systemd/network/1.network", "/usr/lib/systemd/network"],
    ["/usr/local/lib/systemd/network/1.network", "/usr/local/lib/systemd/network"],
    ["/run/systemd/network/1.network", "/run/systemd/network"],
    ["/var/run/systemd/network/1.network", "/run/systemd/network"],
    ["/var/run/flynn/disk.json", "/run/flynn"],
  ].map(([path, kept]): [string, string, RegExp] => [
    `the platform's own by another name: ${path}`,
    `write_files: [{path: ${path}, content: x}]`,
    new RegExp(`write_files\\[0\\]: ${path}: ${kept} is the platform's own`),
  ]),
  ...["/lib", "/var/run", "/usr/local/lib", "/run"].map((above): [string, string, RegExp] => [
    `a unit of ours in ${above}`,
    `write_files: [{path: ${above}/systemd/system/flynn-hostd.service, content: x}]`,
    /is a unit of the platform's/,
  ]),
  ...["/root", "/root/below", "/etc/flynn", "/lib/flynn", "/var/lib/docker/x"].map((home): [string, string, RegExp] => [
    `a user at home in ${home}`,
    `users: [{name: bob, homedir: ${home}}]`,
    /users\[0\]: .* is (root's|the platform's own)/,
  ]),
  ...["/home/../root", "//root", "/root/", "/"].map((home): [string, string, RegExp] => [
    `a home that is no whole path: ${home}`,
    `users: [{name: bob, homedir: ${home}}]`,
    /users\[0\]: write .* as a whole path/,
  ]),
  ["a second root", "users: [{name: bob, uid: 0}]", /users\[0\]\.uid: must be >= 1/],
  ["a NUL in a command's words", 'runcmd: [["echo", "a\\0b"]]', /runcmd\[0\]/],
  ["a way around", "write_files: [{path: /etc/x/../flynn/hostd.json}]", /as a whole path/],
  ["a path that is none", "write_files: [{path: etc/x}]", /write_files\[0\].path: must match/],
  [
    "permissions as a number",
    "write_files: [{path: /etc/x, permissions: 0600}]",
    /permissions: must be string \(put it in quotes\)/,
  ],
  ["deferred files", "write_files: [{path: /etc/x, defer: true}]", /files are written once, before the agent starts/],
  ["root again", "users: [{name: root}]", /root is there already/],
  ["sudo", "users: [{name: a, sudo: ALL}]", /there is no sudo on a host/],
  ["a password of a user in clear", "users: [{name: a, plain_text_passwd: x}]", /openssl passwd -6/],
  ["a hash that is none", "users: [{name: a, passwd: secret}]", /users\[0\].passwd/],
  ["half of a character in a command", 'runcmd: ["a\\ud800b"]', /runcmd\[0\]: holds half of a character/],
  [
    "half of a character in a file",
    'write_files: [{path: /opt/a, content: "x"}, {path: /opt/b, content: "\\udc00"}]',
    /write_files\[1\]\.content: holds half of a character/,
  ],
  ["a command that is a number", "runcmd: [[1]]", /runcmd\[0\]\[0\]: must be string/],
  ["an empty list", "runcmd: []", /runcmd: must NOT have fewer than 1 items/],
  ["a script", "#!/bin/sh\necho hello", /first line is #!\/bin\/sh; only #cloud-config documents are taken/],
  ["an include", "#include\nhttp://x/", /only #cloud-config/],
  ["a template", "## template: jinja\n#cloud-config\nruncmd: [a]", /templates are not taken/],
  ["no map", "- a", /not a map of keys/],
  ["no YAML", "a: [", /it is not YAML/],
  ["a key twice", "timezone: UTC\ntimezone: UTC", /it is not YAML: line 2: Map keys must be unique/],
  ["a bomb of aliases", bomb(), /cannot be used|cannot be read|not YAML|nothing on a host/],
  ["too long a one", `timezone: UTC #${"x".repeat(16_384)}`, /longer than 16 KiB/],
];
function bomb(): string {
  const levels = Array.from({ length: 12 }, (_, n) => `a${n + 1}: &a${n + 1} [${Array(10).fill(`*a${n}`).join(", ")}]`);
  return `a0: &a0 [x]\n${levels.join("\n")}\n`;
}
for (const [what, text, why] of REFUSED)
  test(`refused: ${what}`, () => {
    try {
      readOwn(text);
    } catch (error) {
      assert.ok(isFault(error, "invalid"));
      assert.match((error as Error).message, why);
      return assert.ok((error as Error).message.length < 2_000);
    }
    assert.unreachable("it was taken");
  });

test("all that is wrong is named at once, whatever kind of fault each is, and more than ten are counted", () => {
  const said = (text: string): string => {
    try {
      readOwn(text);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error("it was taken");
  };
  const mixed = said(`packages: [vim]
package_update: true
run_cmd: [a]
timezone: 5
runcmd: [[1]]
users: [{name: root}, {name: ann, sudo: ALL}, {gecos: no name}]
write_files: [{path: /etc/flynn/x}, {path: /etc/y, permissions: 0600}]
`);
  for (const part of [
    "packages, package_update: a host's root is in RAM",
    "run_cmd: nothing on a host does it",
    "timezone: must be string",
    "runcmd[0][0]: must be string",
    "users[0]: root is there already",
    "users[1].sudo: there is no sudo on a host",
    "users[2]: must have required",
    "write_files[0]: /etc/flynn/x: /etc/flynn is the platform's own",
    "write_files[1].permissions: must be string",
  ])
    assert.ok(mixed.includes(part), `${part} is not in: ${mixed}`);
  assert.not.match(mixed, "runcmd[0]: ");
  const many = said(`users: [${Array.from({ length: 14 }, () => "{name: root}").join(", ")}]`);
  assert.ok(many.includes("users[9]: ") && !many.includes("users[10]: "), many);
  assert.ok(many.endsWith("; and 4 more"), many);
  assert.match(said("timezone: UTC\ntimezone: UTC\nruncmd: [a]\nruncmd: [b]\n"), /line 2: .*; line 4: /);
});

test("the user's files come before the agent's, the user's commands after its start, and nothing of ours is lost", () => {
  const merged = readText(seedWith(FULL));
  assert.equal(
    merged.write_files.map(({ path }) => path),
    [
      ...["/etc/motd", "/etc/blob", "/etc/systemd/system/docker.service.d/proxy.conf"],
      ...["/etc/flynn/hostd.json", "/root/.ssh/authorized_keys"],
    ],
  );
  assert.equal(merged.runcmd[0], ["systemctl", "start", "--no-block", "flynn-hostd.service"]);
  assert.is(merged.runcmd.length, 3);
  assert.is(merged.write_files[0]!.content, "no: not a boolean\n");
  assert.is(merged.timezone, "Europe/Berlin");
});
function readText(text: string) {
  return parseYaml(text) as { write_files: { path: string; content: string }[]; runcmd: string[][]; timezone: string };
}

/** cloud-init's own word on a document. */
async function cloudInitSays(text: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-cloud-init-"));
  try {
    await writeFile(join(directory, "user-data"), text);
    const argv = ["cloud-init", "schema", "--config-file", join(directory, "user-data")];
    const { stdout } = await exec(argv, { timeoutMs: 60_000 });
    return stdout;
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return error.stdout + error.stderr;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test("characters that PyYAML refuses, of a file in another encoding or of a program, reach the host as they are", async () => {
  const content = "it\u0092s \u009b2J \u007f \ufffe \uffff \ufeff a\u0085b\u2028c \u{1f600}\n";
  const own = `write_files: [{path: /opt/motd, content: ${JSON.stringify(content)}}]\nbootcmd: ["echo \u0092", "a\tb"]\n`;
  const reader = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin.buffer.read())))";
  const { stdout } = await exec(["/usr/bin/python3", "-c", reader], { input: seedWith(own), timeoutMs: 60_000 });
  const read = JSON.parse(stdout) as { write_files: { content: string }[]; bootcmd: string[] };
  assert.is(read.write_files[0]!.content, content);
  assert.equal(read.bootcmd, ["echo \u0092", "a\tb"]);
});

test("`cloud-init schema` agrees: what a machine gets, with and without a cloud-config of the user's own, is valid", async () => {
  for (const text of [seedWith(FULL), seedWith("#cloud-config\n"), FULL])
    assert.match(await cloudInitSays(text), /Valid cloud-config/);
  assert.match(await cloudInitSays("#cloud-config\nruncmd: [[1]]\n"), /Error|Invalid/, "and it does look");
});

const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
/** With what readers of YAML refuse or break lines at. */
const character = fc.oneof(
  { weight: 4, arbitrary: fc.string({ minLength: 1, maxLength: 1 }) },
  fc.integer({ min: 1, max: 0x1f }).map((code) => String.fromCharCode(code)),
  fc.integer({ min: 0x7f, max: 0x9f }).map((code) => String.fromCharCode(code)),
  fc.constantFrom("\u2028", "\u2029", "\u202e", "\ufeff", "\ufffe", "\uffff", "\ud800", "\udc00", "\u{1f600}"),
);
const textOf = fc.string({ unit: character, maxLength: 20 });
const wholeText = textOf.filter((text) => text.isWellFormed());
const commands = fc.array(fc.oneof(textOf, fc.array(textOf, { maxLength: 4 })), { maxLength: 3 });
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const documents = fc.record(
  {
    bootcmd: commands,
    runcmd: commands,
    groups: fc.array(fc.oneof(word, textOf), { maxLength: 3 }),
    timezone: fc.oneof(word, textOf),
    write_files: fc.array(
      fc.record(
        {
          path: fc.oneof(
            word.map((one) => `/etc/${one}`),
            textOf,
          ),
          content: fc.oneof(textOf, fc.integer()),
          permissions: fc.oneof(fc.constantFrom("0644", "600", "0o600"), fc.integer()),
          encoding: fc.constantFrom("b64", "gzip", "text/plain", "rot13"),
          append: fc.boolean(),
        },
        { requiredKeys: [] },
      ),
      { maxLength: 3 },
    ),
    users: fc.array(
      fc.record(
        {
          name: fc.oneof(word, textOf),
          uid: fc.oneof(fc.integer(), textOf),
          groups: fc.oneof(word, fc.array(word, { maxLength: 2 })),
          shell: fc.constantFrom("/bin/sh", "sh"),
          system: fc.boolean(),
          lock_passwd: fc.oneof(fc.boolean(), textOf),
          ssh_authorized_keys: fc.array(textOf, { maxLength: 2 }),
        },
        { requiredKeys: [] },
      ),
      { maxLength: 2 },
    ),
    ca_certs: fc.record({ remove_defaults: optional(fc.boolean()), trusted: optional(fc.array(textOf)) }),
    phone_home: fc.record({
      url: fc.constantFrom("https://a/", "a"),
      post: fc.constantFrom("all", "some"),
      tries: fc.integer(),
    }),
  },
  { requiredKeys: [] },
);

/** Most of these are to be taken, so that what is taken is looked at often. */
const line = wholeText.filter((text) => text !== "");
const command = fc.oneof(line, fc.array(wholeText, { minLength: 1, maxLength: 4 }));
const right = fc.record(
  {
    bootcmd: fc.array(command, { minLength: 1, maxLength: 3 }),
    runcmd: fc.array(command, { minLength: 1, maxLength: 3 }),
    groups: fc.array(word, { minLength: 1, maxLength: 3 }),
    timezone: word,
    write_files: fc.array(
      fc.record(
        {
          path: word.map((one) => `/etc/own-${one}`),
          content: wholeText,
          permissions: fc.constantFrom("0644", "600"),
          append: fc.boolean(),
        },
        { requiredKeys: ["path"] },
      ),
      { minLength: 1, maxLength: 3 },
    ),
    users: fc.array(
      fc.record(
        {
          name: word,
          uid: fc.integer({ min: 1, max: 60_000 }),
          groups: fc.oneof(word, fc.array(word, { minLength: 1, maxLength: 2 })),
          system: fc.boolean(),
          lock_passwd: fc.boolean(),
        },
        { requiredKeys: ["name"] },
      ),
      { minLength: 1, maxLength: 2 },
    ),
    ca_certs: fc.record({ remove_defaults: fc.boolean() }),
    phone_home: fc.record({ url: fc.constant("https://a/"), post: fc.constant("all") }),
  },
  { requiredKeys: [] },
);

const textsOf = (value: unknown): string[] =>
  typeof value === "string" ? [value] : Object.values(Object(value) as object).flatMap(textsOf);

test("property: what is taken is right by cloud-init's schema, and comes back from the document as it went in", async () => {
  const theirs = new Ajv({ strict: false, validateSchema: false, validateFormats: false, allErrors: true }).compile(
    JSON.parse(await readFile(SCHEMA, "utf8")) as object,
  );
  let taken = 0;
  fc.assert(
    fc.property(fc.oneof(documents, right), (document) => {
      const text = renderCloudConfig(JSON.parse(JSON.stringify(document)) as object);
      let own: OwnConfig;
      try {
        own = readOwn(text);
      } catch (error) {
        assert.ok(isFault(error, "invalid"), String(error));
        return;
      }
      taken++;
      assert.ok(textsOf(own).every((one) => one.isWellFormed()));
      assert.equal(own, JSON.parse(JSON.stringify(document)));
      assert.ok(theirs(own), JSON.stringify([own, theirs.errors]));
    }),
    { numRuns: 3_000 },
  );
  assert.ok(taken > 500, `${taken} were taken: too few to say something`);
});

test("property: no text makes the reader throw anything but a refusal in words", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ maxLength: 200 }),
        fc.json().map((json) => `{"runcmd": ${json}}`),
      ),
      (text) => {
        try {
          readOwn(text);
        } catch (error) {
          assert.ok(isFault(error, "invalid"), String(error));
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test.run();
