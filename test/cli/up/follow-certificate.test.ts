// A registry is started again when its certificate has become old and control has put another one there, and not before.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "#lib/time.ts";
import { followCertificate } from "../../../cli/up/follow-certificate.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { issueOwn } from "../../../control/identity/own-certificates.ts";

const DAY_MS = 86_400_000;

async function followed(
  ageDays: number,
  body: (rig: {
    restarts: () => number;
    looks: () => number;
    said: string[];
    renewFile: () => Promise<void>;
  }) => Promise<void>,
): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-follow-"));
  const file = join(directory, "registry.crt");
  const stop = new AbortController();
  const authority = await openAuthority(join(directory, "ca"));
  const renewFile = async () => void (await issueOwn({ authority, addresses: ["127.0.0.1"], directory }));
  await renewFile();
  const said: string[] = [];
  let restarts = 0;
  let looks = 0;
  let aheadMs = ageDays * DAY_MS;
  const following = followCertificate({
    part: {
      name: "registry",
      async restart() {
        restarts++;
        aheadMs = 0; // the certificate that lies there now is young
      },
    },
    file,
    signal: stop.signal,
    say: (line) => said.push(line),
    nowMs: () => {
      looks++;
      return Date.now() + aheadMs;
    },
  });
  try {
    await body({ restarts: () => restarts, looks: () => looks, said, renewFile });
  } finally {
    stop.abort();
    await following;
    await rm(directory, { recursive: true, force: true });
  }
  return restarts;
}

test("an old certificate is looked at again until another one lies there, then the part is started again, once", async () => {
  const restarts = await followed(300, async ({ restarts, looks, said, renewFile }) => {
    await until(() => looks() > 2, { what: "a third look at it", timeoutMs: 30_000, everyMs: 20 });
    assert.is(restarts(), 0, "the same certificate again is no reason");
    await renewFile();
    await until(() => restarts() === 1, { what: "a restart", timeoutMs: 30_000, everyMs: 20 });
    assert.equal(said, ["registry is started again: its certificate was renewed"]);
  });
  assert.is(restarts, 1);
});

test("a young certificate is used on when another one lies there, as after each start of control", async () => {
  const restarts = await followed(30, async ({ looks, renewFile }) => {
    await until(() => looks() > 0, { what: "a first look at it", timeoutMs: 30_000, everyMs: 20 });
    await renewFile();
  });
  assert.is(restarts, 0);
});

test.run();
