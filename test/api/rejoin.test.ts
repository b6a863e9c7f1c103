// time limit: 180 s
// A member that control does not know any more, since its state is an older one, against a real control: it joins again when it can.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { createClient } from "#api/client.ts";
import type { Identity } from "#api/join.ts";
import { asMember, type Member } from "#api/rejoin.ts";
import { routerTarget } from "#api/router-agents.ts";
import { createLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { backupState, restoreState } from "../../control/store/restore.ts";
import { type ControlProcess, withControl } from "./control-process.ts";

/** Takes control back to before the member joined. */
async function forget({ root, restart }: ControlProcess, backup: string): Promise<void> {
  const directory = join(root, "control", "store");
  await restart(async () => void (await restoreState({ directory, from: backup, replace: true, now: new Date() })));
}

async function asRouter(
  { root, url, caPem }: ControlProcess,
  tokenFile: string,
  body: (seen: { members: Identity[]; said: () => string; followed: () => number }) => Promise<void>,
): Promise<void> {
  const members: Identity[] = [];
  let said = "";
  let followed = 0;
  const log = createLog("router", {
    destination: new Writable({
      write(chunk, _, done) {
        said += String(chunk);
        done();
      },
    }),
  });
  const controller = new AbortController();
  const work = async ({ identity, signal, onBreak }: Member): Promise<void> => {
    members.push(identity);
    const client = createClient({ urls: [url], caPem, identity });
    try {
      for await (const _ of client.follow(routerTarget, { params: { id: identity.id }, signal, onBreak })) followed++;
    } finally {
      client.close();
    }
  };
  const options = {
    directory: join(root, "router"),
    controlUrls: [url],
    caPem,
    role: "router" as const,
    name: "r",
    token: () => readFile(tokenFile, "utf8"),
    log,
    signal: controller.signal,
  };
  const running = asMember(options, work);
  running.catch(() => undefined);
  try {
    await body({ members, said: () => said, followed: () => followed });
  } finally {
    controller.abort();
    await running;
  }
}

test("with a fresh token it joins again as a new member, on the spot, and keeps that identity", () =>
  withControl(async (control) => {
    const { root } = control;
    const [tokenFile, backup] = [join(root, "token"), join(root, "backup")];
    await backupState(join(root, "control", "store"), backup);
    await writeFile(tokenFile, await control.token("router"));
    await asRouter(control, tokenFile, async ({ members, said, followed }) => {
      await until(() => followed() > 0, { what: "its target", timeoutMs: 20_000 });
      await forget(control, backup);
      await writeFile(tokenFile, await control.token("router"));
      const before = followed();
      await until(() => members.length > 1 && followed() > before, { what: "the new one's target", timeoutMs: 30_000 });
      assert.is.not(members[1]!.id, members[0]!.id);
      assert.match(said(), "joined again");
    });
    await asRouter(control, tokenFile, async ({ members, followed }) => {
      await until(() => followed() > 0, { what: "its target", timeoutMs: 20_000 });
      assert.is(members.length, 1, "after a restart it is the new one");
    });
  }));

test("without a good token it says once what it needs, and goes on as what it was", () =>
  withControl(async (control) => {
    const { root } = control;
    const [tokenFile, backup] = [join(root, "token"), join(root, "backup")];
    await backupState(join(root, "control", "store"), backup);
    await writeFile(tokenFile, await control.token("router"));
    await asRouter(control, tokenFile, async ({ members, said, followed }) => {
      await until(() => followed() > 0, { what: "its target", timeoutMs: 20_000 });
      await forget(control, backup);
      await until(() => said().includes("it needs a new join token"), { what: "what it needs", timeoutMs: 30_000 });
      assert.is(said().split("it needs a new join token").length, 2);
      assert.is(members.length, 1);
      const kept = JSON.parse(await readFile(join(root, "router", "identity.json"), "utf8")) as Identity;
      assert.is(kept.id, members[0]!.id, "its identity stays");
      await writeFile(tokenFile, await control.token("router"));
      await until(() => members.length > 1, { what: "the new membership", timeoutMs: 30_000 });
    });
  }));

test.run();
