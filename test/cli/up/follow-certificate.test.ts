// A registry is started again when its certificate has become old and control has put another one there, and not before.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { sleep, until } from "#lib/time.ts";
import { followCertificate } from "../../../cli/up/follow-certificate.ts";
import { openAuthority } from "../../../control/identity/authority.ts";
import { issueOwn } from "../../../control/identity/own-certificates.ts";

const DAY_MS = 86_400_000;

async function followed(
  ageDays: number,
  body: (rig: { restarts: () => number; said: string[]; renewFile: () => Promise<void> }) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-follow-"));
  const file = join(directory, "registry.crt");
  const stop = new AbortController();
  const authority = await openAuthority(join(directory, "ca"));
  const renewFile = async () => void (await issueOwn({ authority, addresses: ["127.0.0.1"], directory }));
  await renewFile();
  const said: string[] = [];
  let restarts = 0;
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
    nowMs: () => Date.now() + aheadMs,
  });
  try {
    await body({ restarts: () => restarts, said, renewFile });
  } finally {
    stop.abort();
    await following;
    await rm(directory, { recursive: true, force: true });
  }
}

test("an old certificate is looked at again until another one lies there, then the part is started again, once", () =>
  followed(300, async ({ restarts, said, renewFile }) => {
    await sleep(300);
    assert.is(restarts(), 0, "the same certificate again is no reason");
    await renewFile();
    await until(() => restarts() === 1, { what: "a restart", timeoutMs: 30_000, everyMs: 20 });
    assert.equal(said, ["registry is started again: its certificate was renewed"]);
  }));

test("a young certificate is used on when another one lies there, as after each start of control", () =>
  followed(30, async ({ restarts, renewFile }) => {
    await renewFile();
    await sleep(500);
    assert.is(restarts(), 0);
  }));

test.run();
