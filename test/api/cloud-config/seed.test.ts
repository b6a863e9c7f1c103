import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parse } from "yaml";
import { renderCloudConfig, renderYaml } from "#api/cloud-config/document.ts";
import { metaData, seedOf, userData, vendorData } from "#api/cloud-config/seed.ts";
import { exec } from "#lib/exec.ts";
import { progressOf } from "../../../bootstrap/http/progress.ts";
import { matchesGolden } from "../../golden/golden.ts";

const input = {
  bootId: "boot-0001",
  machineId: "m-1",
  hostname: "node-1",
  tags: { zone: "a", disk: "no" },
  diskPolicy: { name: "default", mode: "ram" as const },
  sshKeys: ["ssh-ed25519 AAAAC3Nza operator@desk"],
  controlUrls: ["https://10.77.0.1:7777"],
  caPem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
  joinToken: "fjg_payload.signature",
};
const read = (text: string) => parse(text, { version: "1.1" });

test("meta-data is the golden one", () => matchesGolden("meta-data", metaData(input)));
test("user-data is the golden one", () => matchesGolden("user-data", userData(input)));
test("vendor-data is the golden one", () =>
  matchesGolden("vendor-data", vendorData({ base: "http://10.77.0.1:7780", token: "T".repeat(43) })));

test("user-data writes hostd.json readable by root alone, with what a host needs to join", () => {
  const file = read(userData(input)).write_files[0];
  assert.is(file.path, "/etc/flynn/hostd.json");
  assert.is(file.permissions, "0600");
  const { sshKeys: _, ...seed } = input;
  assert.equal(JSON.parse(file.content), seed);
});

test("what a host keeps of its secrets and an order to wipe a disk reach it when there are any", () => {
  const host = (more: object) => JSON.parse(read(userData({ ...input, ...more })).write_files[0].content);
  const { sshKeys: _, ...seed } = input;
  const order = { id: "wipe-1", serial: "S1" };
  assert.equal(host({ secrets: "ram" }), { ...seed, secrets: "ram" });
  assert.equal(host({ wipeOrder: order }), { ...seed, wipeOrder: order });
  assert.equal(host({ secrets: undefined, wipeOrder: undefined }), seed);
});

test("a machine's seed is its profile's and its own tags, and what the profile adds", () => {
  const profile = {
    ...{ name: "p", image: "current", cmdline: [], tags: { zone: "a", rack: "1" }, sshKeys: ["ssh-ed25519 AAAA"] },
    ...{ diskPolicy: input.diskPolicy, secrets: "ram" as const, cloudConfig: "timezone: UTC" },
  };
  const machine = { id: "m-1", hostname: "node-1", profile, tags: { rack: "2" } };
  const boot = { bootId: "b", joinToken: "t" };
  assert.equal(seedOf(machine, input, boot), {
    ...{ bootId: "b", machineId: "m-1", hostname: "node-1", tags: { zone: "a", rack: "2" }, joinToken: "t" },
    ...{
      diskPolicy: input.diskPolicy,
      wipeOrder: undefined,
      requireTpm: undefined,
      secrets: "ram",
      sshKeys: profile.sshKeys,
    },
    ...{ own: "timezone: UTC", controlUrls: input.controlUrls, caPem: input.caPem },
  });
});

test("without SSH keys nothing is written to root's home", () => {
  assert.is(read(userData({ ...input, sshKeys: [] })).write_files.length, 1);
});

test("text that YAML 1.1 would read as something else stays text", () => {
  const traps = [
    "no",
    "yes",
    "n",
    "on",
    "0755",
    "12:30:45",
    "1:20",
    "1.10",
    "1e3",
    "2001-01-01",
    "~",
    "null",
    "",
    " x",
    "x ",
    "- a",
    "a: b",
    "#x",
    "&a",
    "*a",
    "!t",
    "%",
    "@",
    "`",
    "0x1f",
    "1_000",
    "=",
    "<<",
    "\t",
    "a\nb",
    "'",
    '"',
    "é",
    "\u2028",
  ];
  assert.equal(read(renderYaml({ traps })).traps, traps);
});

test("property: any text and any name survives a YAML 1.1 reader", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ minLength: 1 }), fc.string({ unit: "grapheme" })), (record) => {
      assert.equal(read(renderYaml({ ...record })), { ...record });
    }),
    { numRuns: 300 },
  );
});

/** Characters that readers of YAML refuse, break lines at or take for marks. */
const strange = fc.oneof(
  fc.integer({ min: 0, max: 0x1f }).map((code) => String.fromCharCode(code)),
  fc.integer({ min: 0x7f, max: 0xa0 }).map((code) => String.fromCharCode(code)),
  fc.constantFrom(
    "\u2028",
    "\u2029",
    "\u202e",
    "\ufeff",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\u{1f600}",
    "\u{1fffe}",
    "\u{10ffff}",
  ),
  fc.constantFrom("\n", " ", "\t", "\\", '"', "'", "#", ":", "- ", "é"),
);
const anyText = fc
  .array(fc.oneof(strange, fc.string({ unit: "grapheme", maxLength: 5 })), { maxLength: 30 })
  .map((parts) => parts.join(""));

test("property: PyYAML, which cloud-init reads with, reads back any text and any name", async () => {
  // A start of it takes longer than a document does: all of them at once.
  const records = fc.sample(fc.dictionary(anyText, fc.oneof(anyText, fc.array(anyText))), 500);
  const documents = records.map((record) => renderYaml({ ...record }));
  const reader =
    "import json, sys, yaml; print(json.dumps([yaml.safe_load(text.encode()) or {} for text in json.load(sys.stdin)]))";
  // The system's own, which has cloud-init's modules.
  const { stdout } = await exec(["/usr/bin/python3", "-c", reader], {
    timeoutMs: 60_000,
    input: JSON.stringify(documents),
  });
  for (const [n, one] of (JSON.parse(stdout) as unknown[]).entries())
    assert.equal(one, { ...records[n] }, JSON.stringify(documents[n]));
});

test("a text of blank lines keeps its blanks", () => {
  for (const text of [" \n", "a\n \nb\n", "\t\n", "  \n\n"]) assert.is(read(renderYaml({ text })).text, text);
});

test("half of a character is escaped, where it cannot be written at all", () => {
  assert.is(renderYaml({ a: "x\ud800y" }), 'a: "x\\ud800y"\n');
});

test("what YAML 1.1 has types of its own for is quoted: PyYAML fails on it where it is plain", () => {
  assert.is(renderYaml({ "<<": "=", "=": "<<", a: ["<<", "="] }), '"<<": "="\n"=": "<<"\na:\n  - "<<"\n  - "="\n');
});

test("a long value is not folded into several lines", () => {
  const text = renderCloudConfig({ runcmd: [["echo", "word ".repeat(60).trim()]] });
  assert.ok(text.startsWith("#cloud-config\n"));
  assert.is(read(text).runcmd[0][1], "word ".repeat(60).trim());
  assert.ok(text.split("\n").length < 6);
});

test("cloud-init's outer stages and its failures are progress, the rest is not", () => {
  const report = (more: object) =>
    progressOf(JSON.stringify({ name: "init-network", event_type: "finish", result: "SUCCESS", ...more }));
  assert.is(report({})?.message, "cloud-init init-network is done");
  assert.is(report({ event_type: "start" })?.message, "cloud-init init-network begins");
  assert.is(report({ name: "modules-final/config-scripts-user" }), undefined);
  assert.is(report({ name: "modules-final/config-scripts-user", result: "FAIL" })?.level, "warning");
  for (const bad of ["", "null", "[]", "{", '{"name":1}', JSON.stringify({ name: "a\nb", event_type: "start" })]) {
    assert.is(progressOf(bad), undefined, bad);
  }
});

test.run();
