// What parts say of themselves: written and read back, whatever else stands in it, and who understands whom.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { HostReport } from "#api/host-agents.ts";
import { pruneUnknown } from "#api/prune.ts";
import {
  CAPABILITIES,
  compareVersions,
  formatHello,
  type Hello,
  incompatibility,
  ownHello,
  type PartName,
  parseHello,
  silentHello,
} from "#api/version.ts";
import { VERSION } from "#lib/version.ts";

const hello = (part: PartName, version: string, [oldestProtocol, protocol]: [number, number]): Hello => ({
  ...ownHello(part),
  version,
  protocol,
  oldestProtocol,
});

test("what a part says of itself is read back as it was said", () => {
  for (const part of Object.keys(CAPABILITIES) as PartName[]) {
    assert.equal(parseHello(formatHello(ownHello(part))), ownHello(part));
    assert.is(ownHello(part).version, VERSION);
    assert.is(incompatibility(ownHello(part), silentHello("control")), undefined);
  }
  assert.is(formatHello(hello("hostd", "1.2.3", [1, 2])).split(" can=")[0], "hostd/1.2.3 protocol=2 oldest=1");
});

test("words of a newer part are passed over; what is none is none, and harms nobody", () => {
  const newer = parseHello("router/9.0.0-rc.1 protocol=9 colour=blue oldest=1 can=tcp,UPPER,teleport signed=abc=");
  assert.equal(newer, {
    part: "router",
    version: "9.0.0-rc.1",
    protocol: 9,
    oldestProtocol: 1,
    capabilities: ["tcp", "teleport"],
  });
  const none = [
    undefined,
    "",
    "router",
    "router/1.0",
    "satellite/1.0 protocol=1 oldest=1",
    "router/1.0 protocol=1",
    "router/1.0 protocol=-1 oldest=1",
    "router/1.0 protocol=1e9 oldest=1",
    "router/1.0 protocol=1 oldest=2",
    "router/1.0;rm protocol=1 oldest=1",
    `router/1.0 protocol=1 oldest=1 can=${"a".repeat(2_000)}`,
    ["router/1.0 protocol=1 oldest=1"],
  ];
  for (const text of none) assert.is(parseHello(text), undefined, String(text));
  assert.is(parseHello(`router/1 protocol=1 oldest=1 can=${"ab,".repeat(300)}`)!.capabilities.length, 64);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      const found = parseHello(text);
      if (found !== undefined) assert.equal(parseHello(formatHello(found)), found);
    }),
  );
});

test("parts speak as long as each understands the other; else both say the same: who is too old, and what to do", () => {
  const table: [Hello, Hello, RegExp | undefined][] = [
    [hello("control", "1.0.0", [1, 1]), hello("hostd", "9.0.0", [1, 9]), undefined],
    [hello("control", "9.0.0", [1, 9]), hello("hostd", "1.0.0", [1, 1]), undefined],
    [hello("control", "2.0.0", [2, 3]), hello("hostd", "1.0.0", [1, 2]), undefined],
    [
      hello("control", "2.0.0", [2, 2]),
      hello("hostd", "1.0.0", [1, 1]),
      /^this host's agent \(hostd\) is too old: 1\.0\.0 speaks protocol 1, and control, 2\.0\.0, needs 2; boot the host with an image of 2\.0\.0 \(`flynn image rollout IMAGE`\)/,
    ],
    [
      hello("control", "1.0.0", [1, 1]),
      hello("router", "2.0.0", [2, 2]),
      /^control is too old.*update the appliance first/,
    ],
    [
      hello("control", "2.0.0", [2, 2]),
      hello("router", "1.0.0", [1, 1]),
      /^the router is too old.*start the router of 2\.0\.0/,
    ],
    [hello("control", "2.0.0", [2, 2]), hello("boot-server", "1.0.0", [1, 1]), /^the boot server is too old/],
    [
      hello("control", "2.0.0", [2, 2]),
      hello("cli", "1.0.0", [1, 1]),
      /^this flynn command is too old.*install flynn 2\.0\.0/,
    ],
    [
      hello("cli", "2.0.0", [2, 2]),
      hello("control", "1.0.0", [1, 1]),
      /^control is too old.*install flynn 2\.0\.0 there/,
    ],
  ];
  for (const [one, other, words] of table) {
    const said = incompatibility(one, other);
    assert.is(incompatibility(other, one), said);
    if (words === undefined) assert.is(said, undefined);
    else assert.match(said ?? "", words);
  }
});

test("versions are ordered by their numbers", () => {
  const rising = ["", "0.1.0", "0.2.0", "0.10.0", "1.0.0", "1.0.1", "10.0.0"];
  for (let n = 1; n < rising.length; n++) {
    assert.ok(compareVersions(rising[n - 1]!, rising[n]!) < 0, `${rising[n - 1]} < ${rising[n]}`);
    assert.ok(compareVersions(rising[n]!, rising[n - 1]!) > 0);
  }
  assert.is(compareVersions("1.2", "1.2.0"), 0);
});

test("fields that are not known are taken out at every depth, and names that people chose are left", () => {
  const report = {
    term: 1,
    mood: "good",
    facts: { hostname: "h", gpu: { count: 8 }, capacity: { cpuMillis: 1, npus: 2 } },
    jobs: [{ id: "j", colour: "blue" }],
  };
  pruneUnknown(HostReport, report);
  assert.equal(report, {
    term: 1,
    facts: { hostname: "h", capacity: { cpuMillis: 1 } },
    jobs: [{ id: "j" }],
  });
  const tags = { tags: { "BAD NAME!": "x" } };
  pruneUnknown({ properties: { tags: { patternProperties: { "^[a-z]+$": {} }, additionalProperties: false } } }, tags);
  assert.equal(tags, { tags: { "BAD NAME!": "x" } });
  for (const value of [null, 1, "x", undefined, []]) pruneUnknown(HostReport, value);
});

test.run();
