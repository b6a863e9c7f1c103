// The boot server's side of the contract against the real control plane on loopback: join, target, events, last copy, grants.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BootTarget, verifyJoinGrant } from "#api/boot.ts";
import { loadIdentity } from "#api/join.ts";
import { stopChild } from "#lib/exec.ts";
import { readText } from "#lib/files.ts";
import { createLog, silentLog } from "#lib/log.ts";
import { until } from "#lib/time.ts";
import { publicKeyOf } from "#lib/x509.ts";
import { controlLink } from "../../bootstrap/control.ts";
import type { BootRecord } from "../../bootstrap/identity/tokens.ts";
import { openTimeline } from "../../bootstrap/timeline.ts";
import { backupState, restoreState } from "../../control/store/restore.ts";
import { withControl } from "../api/control-process.ts";
import { freePort } from "../lib/free-port.ts";

const inventories = { deliver: async () => undefined };

const MAC = "52:54:00:00:00:01";
const program = fileURLToPath(new URL("../../control/main.ts", import.meta.url));

test("a stranger's event makes it a machine of the target; with control gone the last copy and the grants stand", async () => {
  const root = await mkdtemp(join(tmpdir(), "flynn-boot-control-"));
  const controlDir = join(root, "control");
  const stateDir = join(root, "boot");
  const log = silentLog();
  let control: ChildProcess | undefined;
  try {
    const port = await freePort();
    const config = {
      stateDir: controlDir,
      address: "127.0.0.1",
      port,
      advertise: ["127.0.0.1"],
      unknownMachines: "auto",
      localJoin: ["boot"],
    };
    await writeFile(join(root, "control.yaml"), JSON.stringify(config));
    control = spawn(process.execPath, [program, "--config", join(root, "control.yaml")], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const joinTokenFile = join(controlDir, "local-join", "boot");
    const caPem = await until(
      async () =>
        (await readText(joinTokenFile)) ? await readFile(join(controlDir, "pki", "ca.pem"), "utf8") : undefined,
      {
        what: "control starts",
        timeoutMs: 30_000,
      },
    );
    const timeline = await openTimeline({ path: join(stateDir, "events.journal"), log });
    const targets: BootTarget[] = [];
    const options = {
      stateDir,
      controlUrls: [`https://127.0.0.1:${port}`],
      caPem,
      name: "boot",
      joinTokenFile,
      timeline,
      inventories,
      log,
    };
    const link = await controlLink({ ...options, onTarget: (target) => targets.push(target) });
    const controller = new AbortController();
    const running = link.run(controller.signal);
    running.catch(() => undefined);
    timeline.record({
      claimed: { mac: MAC, firmware: "bios", whole: true },
      observed: { card: MAC, address: "10.0.0.5" },
      stage: "wait-approval",
      message: "waiting for approval",
    });
    await until(() => targets.at(-1)?.machines.some((machine) => machine.macs.includes(MAC)), {
      what: "the machine in the target",
      timeoutMs: 20_000,
    });
    assert.is(timeline.queued, 0);

    const boot: BootRecord = {
      bootId: "boot-1",
      machineId: "m-1",
      imageId: "i",
      mac: MAC,
      address: "10.0.0.5",
      tokenHash: "h",
      mintedAtMs: Date.now(),
      uses: {},
    };
    const identity = (await loadIdentity(join(stateDir, "identity")))!;
    const grant = verifyJoinGrant(link.grant(boot), publicKeyOf(identity.certificate), Date.now());
    assert.is(grant.machineId, "m-1");
    assert.is(grant.bootServerId, identity.id);

    await stopChild(control, 5_000, "SIGKILL");
    controller.abort();
    await running;
    const later: BootTarget[] = [];
    const again = await controlLink({ ...options, onTarget: (target) => later.push(target) });
    assert.equal(later, [targets.at(-1)]);
    assert.is(
      verifyJoinGrant(again.grant(boot), publicKeyOf(identity.certificate), Date.now()).nonce,
      grant.nonce,
      "a retried seed carries the same nonce",
    );
    await timeline.close();
  } finally {
    if (control) await stopChild(control, 5_000, "SIGKILL");
    await rm(root, { recursive: true, force: true });
  }
});

test("a kept target of a newer control is used; what this version does not know of it is passed over", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "flynn-boot-newer-"));
  const log = silentLog();
  try {
    const target = { term: 3, seq: 7, controlUrls: [], caPem: "", unknownMachines: "wait", machines: [], images: [] };
    const newer = { ...target, colour: "blue", fleet: { of: [] } };
    await writeFile(join(stateDir, "target.json"), JSON.stringify(newer));
    const timeline = await openTimeline({ path: join(stateDir, "events.journal"), log });
    const seen: BootTarget[] = [];
    const onTarget = (each: BootTarget) => seen.push(each);
    await controlLink({
      stateDir,
      controlUrls: [],
      caPem: "",
      name: "b",
      joinTokenFile: "",
      timeline,
      inventories,
      log,
      onTarget,
    });
    assert.equal(seen, [target]);
    await timeline.close();
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
});

test("a due boot server renews while it follows, and from then on signs grants with its new key", () =>
  withControl(async ({ root, url, caPem, token }) => {
    const stateDir = join(root, "boot");
    const joinTokenFile = join(root, "token");
    await writeFile(joinTokenFile, await token("boot"));
    const said: string[] = [];
    const log = createLog("bootstrap", {
      destination: new Writable({
        write(chunk, _, done) {
          said.push(String(chunk));
          done();
        },
      }),
    });
    const timeline = await openTimeline({ path: join(stateDir, "events.journal"), log });
    const targets: BootTarget[] = [];
    let aheadMs = 22 * 86_400_000;
    const link = await controlLink({
      stateDir,
      controlUrls: [url],
      caPem,
      name: "boot",
      joinTokenFile,
      timeline,
      inventories,
      log,
      onTarget: (target) => targets.push(target),
      nowMs: () => Date.now() + aheadMs,
    });
    const controller = new AbortController();
    const running = link.run(controller.signal);
    running.catch(() => undefined);
    try {
      await until(() => said.some((line) => line.includes("certificate renewed")), {
        what: "the renewal",
        timeoutMs: 20_000,
      });
      aheadMs = 0;
      const { certificate } = (await loadIdentity(join(stateDir, "identity")))!;
      const boot = {
        bootId: "b",
        machineId: "m",
        imageId: "i",
        mac: MAC,
        address: "10.0.0.5",
        tokenHash: "h",
        uses: {},
      };
      const grant = link.grant({ ...boot, mintedAtMs: Date.now() });
      assert.is(verifyJoinGrant(grant, publicKeyOf(certificate), Date.now()).machineId, "m");
      timeline.record({ claimed: { mac: MAC, firmware: "bios" }, stage: "discover", message: "after the renewal" });
      await until(() => timeline.queued === 0 && targets.length > 0, {
        what: "event and target over the new certificate",
        timeoutMs: 20_000,
      });
      assert.not.ok(
        said.some((line) => line.includes("control is away")),
        said.join(""),
      );
    } finally {
      controller.abort();
      await running;
      await timeline.close();
    }
  }));

test("a boot server that control's older state does not know joins again with the token on its own machine, and signs as the new one", () =>
  withControl(async ({ root, url, caPem, token, restart }) => {
    const stateDir = join(root, "boot");
    const [joinTokenFile, backup] = [join(root, "token"), join(root, "backup")];
    const directory = join(root, "control", "store");
    await backupState(directory, backup);
    await writeFile(joinTokenFile, await token("boot"));
    const log = silentLog();
    const timeline = await openTimeline({ path: join(stateDir, "events.journal"), log });
    const targets: BootTarget[] = [];
    const onTarget = (target: BootTarget) => targets.push(target);
    const options = {
      stateDir,
      controlUrls: [url],
      caPem,
      name: "boot",
      joinTokenFile,
      timeline,
      inventories,
      log,
      onTarget,
    };
    const link = await controlLink(options);
    const controller = new AbortController();
    const running = link.run(controller.signal);
    running.catch(() => undefined);
    try {
      await until(() => targets.length > 0, { what: "the first target", timeoutMs: 20_000 });
      const before = (await loadIdentity(join(stateDir, "identity")))!;
      await restart(async () => void (await restoreState({ directory, from: backup, replace: true, now: new Date() })));
      await writeFile(joinTokenFile, await token("boot"));
      const seen = targets.length;
      await until(() => targets.length > seen, { what: "a target of the restored state", timeoutMs: 30_000 });
      const now = (await loadIdentity(join(stateDir, "identity")))!;
      assert.is.not(now.id, before.id);
      const boot = { bootId: "b", machineId: "m", imageId: "i", mac: MAC, address: "", tokenHash: "h", uses: {} };
      const grant = link.grant({ ...boot, mintedAtMs: Date.now() });
      assert.is(verifyJoinGrant(grant, publicKeyOf(now.certificate), Date.now()).bootServerId, now.id);
    } finally {
      controller.abort();
      await running;
      await timeline.close();
    }
  }));

test.run();
