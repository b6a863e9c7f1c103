// The life of a member's certificate, from its files to a real control plane: when it is renewed, what a crash leaves, what is refused.
import { mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootTarget } from "#api/boot.ts";
import { type Client, createClient } from "#api/client.ts";
import { type Fault, isFault } from "#api/fault.ts";
import { ensureIdentity, type Identity, loadIdentity, nextKey, saveIdentity } from "#api/join.ts";
import * as members from "#api/members.ts";
import { keepIdentity, renewalDueMs, renewInTime } from "#api/renew.ts";
import { until } from "#lib/time.ts";
import { newCsr } from "#lib/x509.ts";
import { openAuthority } from "../../control/identity/authority.ts";
import { type ControlProcess, withControl } from "./control-process.ts";

const DAY_MS = 86_400_000;

async function scratch(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "flynn-identity-"));
  try {
    await body(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function refusal(work: Promise<unknown>): Promise<Fault> {
  const error = await work.then(
    () => new Error("was let in"),
    (cause: unknown) => cause,
  );
  if (!isFault(error)) throw error;
  return error;
}

/** An identity of a CA of its own in `directory`, made as a join makes it. */
async function made(
  directory: string,
  days = 30,
): Promise<{ identity: Identity; again(days: number): Promise<Identity> }> {
  const authority = await openAuthority(join(directory, "ca"));
  const kept = join(directory, "identity");
  const again = async (life: number): Promise<Identity> => {
    const key = await nextKey(kept);
    const issued = await authority.issueMember({
      role: "boot",
      id: "boot-1",
      csrPem: await newCsr(key, "x"),
      days: life,
    });
    const { certificate, expiresAt } = issued;
    return { id: "boot-1", role: "boot", certificate, key, caPem: authority.caPem, expiresAt, clusterRange: "" };
  };
  const identity = await again(days);
  await saveIdentity(kept, identity);
  return { identity, again };
}

test("a certificate is due after two thirds of its life, spread over a twentieth of it", () =>
  scratch(async (directory) => {
    const { identity } = await made(directory);
    const days = (random: number) => (renewalDueMs(identity.certificate, () => random) - Date.now()) / DAY_MS;
    assert.ok(Math.abs(days(0) - 20) < 0.1, String(days(0)));
    assert.ok(Math.abs(days(1) - 21.5) < 0.1, String(days(1)));
  }));

test("what is due is renewed, again after a failure; what is not due is left alone", () =>
  scratch(async (directory) => {
    const { identity, again } = await made(directory);
    const { certificate } = identity;
    const controller = new AbortController();
    const failures: [string, string][] = [];
    let asked = 0;
    await renewInTime({
      certificate,
      renew: async () => {
        if (++asked === 1) throw new Error("control is away");
        controller.abort();
        return (await again(30)).certificate;
      },
      onRetry: (error, expiresAt) => failures.push([String(error), expiresAt.toISOString()]),
      nowMs: () => Date.now() + 22 * DAY_MS,
      signal: AbortSignal.any([controller.signal, AbortSignal.timeout(20_000)]),
    });
    assert.is(asked, 2);
    assert.equal(failures, [["Error: control is away", identity.expiresAt]]);

    const idle = new AbortController();
    let looks = 0;
    const early = renewInTime({
      certificate,
      renew: () => Promise.reject(new Error("is not due")),
      onRetry: () => assert.unreachable(),
      nowMs: () => {
        looks++;
        return Date.now() + 19 * DAY_MS;
      },
      signal: idle.signal,
    });
    await until(() => looks > 0, { what: "a look", timeoutMs: 30_000, everyMs: 1 });
    idle.abort();
    await early;
  }));

test("a crash between any two steps of a renewal leaves an identity that is whole", () =>
  scratch(async (directory) => {
    const { identity, again } = await made(directory);
    const kept = join(directory, "identity");
    const next = await again(30);
    assert.is((await loadIdentity(kept))?.key, identity.key, "asked, not answered: the old pair");
    assert.is(await nextKey(kept), next.key, "and the same key is asked for again");
    const { key: _, ...rest } = next;
    await writeFile(join(kept, "identity.json"), JSON.stringify(rest));
    const found = await loadIdentity(kept);
    assert.equal([found?.key, found?.certificate], [next.key, next.certificate], "certificate written: the new pair");
    assert.equal((await readdir(kept)).sort(), ["identity.json", "key.pem"]);
    assert.is((await loadIdentity(kept))?.key, next.key);
    assert.is.not(await nextKey(kept), next.key, "the key in use is never asked for anew");
  }));

test("an expired identity says when it expired, by which clock, and what to do", () =>
  scratch(async (directory) => {
    const { identity } = await made(directory);
    const kept = join(directory, "identity");
    const options = {
      directory: kept,
      controlUrls: ["https://127.0.0.1:1"],
      caPem: identity.caPem,
      role: "boot" as const,
      name: "boot",
      signal: AbortSignal.timeout(20_000),
    };
    assert.is((await ensureIdentity(options)).id, identity.id);
    const nowMs = () => Date.now() + 31 * DAY_MS;
    const { code, message } = await refusal(ensureIdentity({ ...options, nowMs }));
    assert.is(code, "unauthenticated");
    assert.match(message, `the certificate of boot boot-1 expired at ${identity.expiresAt}`);
    assert.match(
      message,
      /this machine's clock says \d{4}-.*make a join token for a boot \(flynn host token, or POST \/v1\/join-tokens\)/,
    );
  }));

const clientOf = ({ url, caPem }: ControlProcess, identity?: Identity): Client =>
  createClient({ urls: [url], caPem, identity, timeoutMs: 10_000 });

const report = (client: Client, { id }: Identity) => client.call(bootTarget, { params: { id } });

async function joined(control: ControlProcess, directory: string, token?: string): Promise<Identity> {
  return ensureIdentity({
    directory,
    controlUrls: [control.url],
    caPem: control.caPem,
    role: "boot",
    name: "boot",
    token: token ?? (await control.token("boot")),
    signal: AbortSignal.timeout(30_000),
  });
}

test("against a real control: a due member renews, its stream moves over without a break, and the old certificate is refused", () =>
  withControl(async (control) => {
    const directory = join(control.root, "member");
    const before = await joined(control, directory);
    const client = clientOf(control, before);
    const controller = new AbortController();
    const { signal } = controller;
    const breaks: unknown[] = [];
    let items = 0;
    const following = (async () => {
      const input = { params: { id: before.id }, signal, onBreak: (error: unknown) => breaks.push(error) };
      for await (const { event } of client.follow(bootTarget, input)) if (event === "item") items++;
    })();
    await until(() => items === 1, { what: "the first target", timeoutMs: 10_000 });

    let renewed: Identity | undefined;
    let aheadMs = 22 * DAY_MS;
    const keeping = keepIdentity({
      identity: before,
      directory,
      client,
      signal,
      nowMs: () => Date.now() + aheadMs,
      onRenewed(identity) {
        aheadMs = 0;
        renewed = identity;
      },
    });
    await until(() => renewed, { what: "the renewal", timeoutMs: 20_000, everyMs: 10 });
    assert.is(renewed?.id, before.id);
    assert.is.not(renewed?.key, before.key);
    assert.equal(await loadIdentity(directory), renewed);
    await until(() => items === 2, { what: "the target over the new certificate", timeoutMs: 10_000 });
    assert.equal(breaks, []);
    await report(client, before);

    const old = clientOf(control, before);
    const { code, message } = await refusal(report(old, before));
    assert.is(code, "unauthenticated");
    assert.match(message, /is not good any more/);
    old.close();
    controller.abort();
    await Promise.all([following, keeping]);
    client.close();

    const again = await joined(control, directory, "fjt_never-asked-for");
    assert.is(again.key, renewed?.key, "the next start goes on with the renewed one");
  }));

test("against a real control: a lost answer locks nobody out, of a renewal or of a join", () =>
  withControl(async (control) => {
    const directory = join(control.root, "member");
    const token = await control.token("boot");
    const before = await joined(control, directory, token);
    // As if the answer to the join had never come: the key is there, the certificate is not.
    await rename(join(directory, "key.pem"), join(directory, "key.next.pem"));
    await rm(join(directory, "identity.json"));
    const again = await joined(control, directory, token);
    assert.equal([again.id, again.key], [before.id, before.key]);

    const thief = await refusal(joined(control, join(control.root, "thief"), token));
    assert.match(thief.message, /used already/);

    const client = clientOf(control, again);
    const ask = async (key: string) =>
      client.call(members.renewMember, { params: { id: again.id }, body: { csr: await newCsr(key, again.id) } });
    const key = await nextKey(directory);
    const lost = await ask(key);
    await report(client, again);
    assert.is(await nextKey(directory), key);
    const { certificate, expiresAt, caPem } = await ask(key);
    assert.is(caPem, control.caPem);
    await report(client, again);
    const next = { ...again, key, certificate, expiresAt };
    await saveIdentity(directory, next);
    const fresh = clientOf(control, next);
    await report(fresh, next);
    assert.is((await refusal(report(client, again))).code, "unauthenticated");
    const first = clientOf(control, { ...next, certificate: lost.certificate });
    await report(first, next);
    for (const each of [client, fresh, first]) each.close();
  }));

test("against a real control: an expired certificate is told so, on a new connection and on one that was open", () =>
  withControl(async (control) => {
    const directory = join(control.root, "member");
    const identity = await joined(control, directory);
    const authority = await openAuthority(control.caDirectory);
    const shortLived = async (ms: number): Promise<Client> => {
      const csrPem = await newCsr(identity.key, identity.id);
      const { certificate } = await authority.issueMember({ role: "boot", id: identity.id, csrPem, days: ms / DAY_MS });
      return clientOf(control, { ...identity, certificate });
    };
    const expired = await shortLived(-1_000);
    const { code, message } = await refusal(report(expired, identity));
    assert.is(code, "unauthenticated");
    assert.match(message, /the certificate of boot \S+ expired at .*; it can join again with a new join token/);
    expired.close();

    const soon = await shortLived(3_000);
    await report(soon, identity);
    const late = await until(
      () =>
        report(soon, identity).then(
          () => undefined,
          (error: Fault) => error,
        ),
      {
        what: "the end of the certificate",
        timeoutMs: 10_000,
      },
    );
    assert.match(late.message, /expired at/);
    soon.close();
  }));

test.run();
