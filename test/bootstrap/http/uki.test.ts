// What the initrd of a signed image is told: lines it can take without running anything of them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootUki, localDiskUki, refusalUki, rescueUki, waitUki } from "../../../bootstrap/http/uki.ts";

const base = "http://10.77.0.1:7780";
const image = {
  kernelSha256: "1".repeat(64),
  initrdSha256: "2".repeat(64),
  squashfsSha256: "3".repeat(64),
  cmdline: ["quiet", "init=/bin/sh"],
};

test("it is told where its root and its seed are, and nothing that would change its command line", () => {
  const told = bootUki({ base, mac: "52:54:00:00:00:01", token: "tok_1", image });
  assert.is(told, `DO=boot\nFETCH=${base}/a/sha256-${"3".repeat(64)}/root.squashfs\nSEED=${base}/s/tok_1/\n`);
});

test("what it waits for, and why it does not go on, is one plain line whatever it is made of", () => {
  assert.is(
    waitUki(["Flynn: machine x waits", "run: $(reboot)`id`\nDO=boot"]),
    "DO=wait\nWHY=Flynn: machine x waits. run: ?(reboot)?id??DO=boot\n",
  );
  assert.is(refusalUki(["Flynn: no"]), "DO=stop\nWHY=Flynn: no\n");
  for (const told of [rescueUki(), localDiskUki()]) assert.match(told, /^DO=stop\nWHY=[A-Za-z0-9 .,:()_/=+?-]+\n$/);
});

test.run();
