// Boot images and profiles for people; target and events for boot servers.
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Ajv } from "ajv";
import * as boot from "#api/boot.ts";
import { readOwn } from "#api/cloud-config/own.ts";
import { seedOf, userData } from "#api/cloud-config/seed.ts";
import { Fault, isFault } from "#api/fault.ts";
import type { Context } from "../context.ts";
import { eventChanges } from "../events.ts";
import { stateFeed } from "../feed.ts";
import { parsePublicKey } from "../git/public-key.ts";
import { observer } from "../identity/observe.ts";
import { keys, PREFIX } from "../keys.ts";
import { afterDecisionOnAll } from "../machine-life/records.ts";
import type { Mount } from "../mount.ts";
import { page, pageOf } from "../paging.ts";
import type { Power } from "../power/power.ts";
import type { MachineRecord } from "../records.ts";
import { bootImages, bootTargetOf } from "../targets/boot.ts";

const FED_BY = [
  PREFIX.machines,
  PREFIX.machineDisks,
  PREFIX.machineWipes,
  PREFIX.profiles,
  PREFIX.bootImages,
  "cluster/",
];

export function mountBoot(mount: Mount, context: Context, power: Pick<Power, "saw">): void {
  const { store, now, presence, config } = context;
  const observed = observer(context);

  mount(
    boot.bootTarget,
    () => bootTargetOf(context),
    ({ signal, params }) =>
      stateFeed({
        subscribe: (wake) => {
          const left = presence.bootServerFollows(params.id);
          const stop = store.onDurable((record) => {
            if (record.mutations.some(({ key }) => FED_BY.some((prefix) => key.startsWith(prefix)))) wake();
          });
          return () => {
            stop();
            left();
          };
        },
        build: () => bootTargetOf(context),
        sameness: ({ seq: _, ...target }) => JSON.stringify(target),
        id: (target) => String(target.seq),
        signal,
        coalesceMs: 100,
      }),
  );
  mount(boot.postBootEvents, async ({ params, body }) => {
    presence.bootServerSeen(params.id);
    if (body.dhcpServers !== undefined) presence.dhcpServersSeen(params.id, body.dhcpServers);
    const machines = await observed.take(params.id, body.events);
    power.saw(params.id, [...new Set(machines.map(({ machineId }) => machineId))]);
    return { machines };
  });

  const image = (id: string): boot.BootImage => {
    const found = bootImages(store).find((candidate) => candidate.id === id);
    if (found === undefined) throw new Fault("not-found", `no boot image ${id}`);
    return found;
  };
  mount(boot.listBootImages, ({ query }) => pageOf(bootImages(store), query));
  mount(boot.getBootImage, ({ params }) => image(params.id));
  mount(boot.registerBootImage, async ({ body, principal, idempotent }) => {
    const manifest = checkManifest(body.manifest, body.signature, await signingKey(config.imageKey));
    checkCommandLine(manifest.cmdline);
    const known = store.get(keys.bootImage(manifest.id));
    const { id, name, architecture, kernel, initrd, squashfs, cmdline, memoryNeedBytes, createdAt } = manifest;
    const file = ({ sha256, sizeBytes }: { sha256: string; sizeBytes: number }) => ({ sha256, sizeBytes });
    const value: Omit<boot.BootImage, "current"> = {
      id,
      name,
      architecture,
      kernel: file(kernel),
      initrd: file(initrd),
      squashfs: file(squashfs),
      cmdline,
      memoryNeedBytes,
      createdAt,
      ...(kernel.version ? { kernelVersion: kernel.version } : {}),
    };
    const current = keys.currentBootImage(architecture);
    if (known === undefined) {
      await store.commit({
        actor: principal.name,
        ...idempotent,
        mutations: [
          { key: keys.bootImage(id), value },
          ...(store.get(current) ? [] : [{ key: current, value: id }]),
          ...eventChanges(store, now(), {
            type: "boot-image.registered",
            subject: id,
            actor: principal.name,
            message: `boot image ${id} was registered`,
          }),
        ],
      });
    }
    return image(id);
  });

  mount(boot.listProfiles, ({ query }) => page(store.list<boot.Profile>(PREFIX.profiles), query, ({ value }) => value));
  mount(boot.getProfile, ({ params, etag }) => {
    const entry = store.get<boot.Profile>(keys.profile(params.name));
    if (entry === undefined) throw new Fault("not-found", `no profile ${params.name}`);
    etag(entry.version);
    return entry.value;
  });
  mount(boot.renderProfile, ({ params }) => {
    const profile = store.get<boot.Profile>(keys.profile(params.name))?.value;
    if (profile === undefined) throw new Fault("not-found", `no profile ${params.name}`);
    const machine = { id: "MACHINE-ID", hostname: "MACHINE-NAME", profile, tags: {} };
    const { controlUrls, authority } = context;
    const boots = { bootId: "BOOT-ID", joinToken: "GRANT-OF-ONE-BOOT" };
    return {
      userData: userData(seedOf(machine, { controlUrls, caPem: authority.caPem }, boots)),
      cmdline: profile.cmdline,
    };
  });
  mount(boot.putProfile, async ({ params, body, principal, ifMatch }) => {
    if (body.name !== params.name)
      throw new Fault("invalid", `the profile's name is ${body.name}, the path says ${params.name}`);
    if (body.image !== "current") image(body.image);
    const { mode, serial, wwn, path } = body.diskPolicy;
    if (mode === "named" && serial === undefined && wwn === undefined && path === undefined)
      throw new Fault("invalid", "a disk policy of mode named names its disk: give serial, wwn or path");
    if (body.install === "disk" && mode === "ram")
      throw new Fault(
        "invalid",
        "install: disk needs a disk policy that names a disk: the boot images and the state live there, and nothing writes a disk without one; give find-empty or named",
      );
    checkCommandLine(body.cmdline);
    checkSshKeys(body.sshKeys);
    if (body.cloudConfig !== undefined) readOwn(body.cloudConfig);
    const key = keys.profile(params.name);
    await store.commit({
      actor: principal.name,
      ...(ifMatch === undefined ? {} : { expect: [{ key, version: ifMatch }] }),
      mutations: [
        { key, value: body },
        ...afterDecisionOnAll(store, ({ profile }) => profile === params.name),
        ...eventChanges(store, now(), {
          type: "profile.changed",
          subject: params.name,
          actor: principal.name,
          message: `profile ${params.name} was set (disk policy ${body.diskPolicy.name}: ${body.diskPolicy.mode}${body.install === "disk" ? ", installed to it" : ""})`,
        }),
      ],
    });
    return body;
  });
  mount(boot.deleteProfile, async ({ params, principal, ifMatch }) => {
    const entry = store.get(keys.profile(params.name));
    if (entry === undefined) throw new Fault("not-found", `no profile ${params.name}`);
    const user = store.list<MachineRecord>(PREFIX.machines).find(({ value }) => value.profile === params.name);
    if (params.name === "default" || user)
      throw new Fault(
        "conflict",
        user ? `machine ${user.value.name} uses profile ${params.name}` : "the profile `default` cannot be deleted",
      );
    await store.commit({
      actor: principal.name,
      expect: [{ key: entry.key, version: ifMatch ?? entry.version }],
      mutations: [{ key: entry.key, value: null }],
    });
    return {};
  });
}

/** What iPXE could not pass on is refused here, not at the next boot. */
function checkCommandLine(words: readonly string[]): void {
  const wrong = words.find((word) => !boot.isKernelWord(word));
  if (wrong === undefined) return;
  throw new Fault(
    "invalid",
    `cmdline: ${JSON.stringify(wrong.slice(0, 60))} cannot stand in a kernel command line: one word each, without blanks, quotes and any of $ \` \\ #; such as console=ttyS0,115200n8`,
    { details: { field: "cmdline" } },
  );
}

/** Each is a line of a .pub file: what sshd would pass over in silence locks its owner out. */
function checkSshKeys(lines: readonly string[]): void {
  for (const [n, line] of lines.entries()) {
    try {
      parsePublicKey(line);
    } catch (error) {
      if (!isFault(error, "invalid")) throw error;
      throw new Fault("invalid", `sshKeys[${n}]: ${error.message}`, { details: { field: "sshKeys" } });
    }
  }
}

async function signingKey(path: string): Promise<string> {
  if (path === "") throw new Fault("unavailable", "control has no image signing key configured (imageKey)");
  return await readFile(path, "utf8").catch((cause: unknown) => {
    throw new Fault("unavailable", `read the image signing key ${path}; \`flynn image build\` makes it`, { cause });
  });
}

function publicKeyOf(pem: string): KeyObject {
  try {
    const key = createPublicKey(pem);
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // said below
  }
  throw new Fault("unavailable", "the image signing key (imageKey) is not an ed25519 public key");
}

/** The manifest, if it is signed by the key (ed25519 over its exact bytes) and says what a manifest must. */
export function checkManifest(text: string, signature: string, publicKeyPem: string): boot.BootImageManifest {
  const key = publicKeyOf(publicKeyPem);
  const good = verify(null, Buffer.from(text), key, Buffer.from(signature.trim(), "base64"));
  if (!good) throw new Fault("forbidden", "the boot image manifest is not signed by this appliance's image key");
  let manifest: unknown;
  try {
    manifest = JSON.parse(text);
  } catch (cause) {
    throw new Fault("invalid", "the boot image manifest is not JSON", { cause });
  }
  const ajv = new Ajv({ strict: false, validateSchema: false });
  if (!ajv.validate(boot.BootImageManifest, manifest))
    throw new Fault("invalid", `the boot image manifest is wrong: ${ajv.errorsText()}`);
  return manifest as boot.BootImageManifest;
}
