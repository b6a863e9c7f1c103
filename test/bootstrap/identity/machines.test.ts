import { test } from "uvu";
import * as assert from "uvu/assert";
import type { BootTarget } from "#api/boot.ts";
import { type ChoiceInput, chooseBoot } from "../../../bootstrap/identity/boot-choice.ts";
import { createMachines } from "../../../bootstrap/identity/machines.ts";
import type { VerifiedImage } from "../../../bootstrap/images.ts";
import { bootMachine } from "../image-fixture.ts";

const MAC = "52:54:00:00:00:01";
const target = (machines = [bootMachine(MAC)], current?: string): BootTarget =>
  ({
    term: 1,
    seq: 1,
    controlUrls: [],
    caPem: "",
    unknownMachines: "wait",
    machines,
    images: current ? [{ id: current, architecture: "amd64", current: true }] : [],
  }) as unknown as BootTarget;
const image = (id: string, cmdline: string[] = [], architecture = "amd64") =>
  ({ manifest: { id, cmdline, architecture } }) as unknown as VerifiedImage;
const choose = (more: Partial<ChoiceInput> = {}) =>
  chooseBoot({
    target: target(),
    machine: bootMachine(MAC),
    claimed: { mac: MAC, whole: true },
    observed: { card: MAC },
    imageOf: (id) => image(id),
    refusalOf: () => undefined,
    ...more,
  });
const macOf = (n: number) =>
  `52:54:02:00:${(n >> 8).toString(16).padStart(2, "0")}:${(n & 255).toString(16).padStart(2, "0")}`;

test("ten thousand cards that only say so keep neither a known machine nor one that is seen from coming in", () => {
  const machines = createMachines({ nowMs: () => 0 });
  machines.setTarget(target());
  const admitted = Array.from({ length: 10_000 }, (_, n) => machines.admit(macOf(n), false)).filter(Boolean);
  assert.ok(admitted.length <= 2_048, `${admitted.length} were admitted at once`);
  assert.ok(machines.admit(MAC, false));
  assert.ok(machines.admit("52:54:00:00:00:77", true));
});

test("strangers come in at a limited rate, and one that was let in stays", () => {
  const machines = createMachines({ maxStrangers: 100, strangersPerSecond: 1, nowMs: () => 0 });
  const admitted = Array.from({ length: 200 }, (_, n) => machines.admit(macOf(n), true));
  assert.is(admitted.filter(Boolean).length, 100);
  assert.ok(machines.admit(macOf(0), true));
});

test("strangers that only say so and those that were seen have rooms of their own, of 2,048 at once and 4,096 in all", () => {
  const clock = { ms: 0 };
  const machines = createMachines({ nowMs: () => clock.ms });
  const card = (n: number) =>
    `52:54:03:${[n >> 16, n >> 8, n].map((byte) => (byte & 255).toString(16).padStart(2, "0")).join(":")}`;
  const come = (from: number, count: number, seen: boolean) =>
    Array.from({ length: count }, (_, n) => machines.admit(card(from + n), seen)).filter(Boolean).length;
  assert.equal([come(0, 5_000, false), come(10_000, 5_000, true)], [2_048, 2_048]);
  assert.ok(machines.admit(card(0), false), "one that was let in");
  assert.not(machines.admit(card(0), true), "was not let in as one that was seen");
  clock.ms += 1_000;
  assert.equal([come(20_000, 500, false), come(30_000, 500, true)], [200, 200]);
  clock.ms += 60_000;
  assert.is(come(40_000, 2_048, true), 2_048);
  const stays = (n: number) => machines.admit(card(n), true);
  // 2,048 + 200 + 2,048 came: 200 too many, so that the first 200 went; with no time passed nobody new is let in.
  assert.equal([stays(10_000 + 199), stays(10_000 + 200), stays(40_000)], [false, true, true]);
});

test("what control decided is at hand, and only the newest of it", () => {
  const machines = createMachines();
  assert.is(machines.target, undefined);
  const first = target();
  machines.setTarget(first);
  assert.equal([machines.target, machines.find(MAC)?.macs], [first, [MAC]]);
  const next = target([bootMachine("52:54:00:00:00:02")]);
  machines.setTarget(next);
  assert.equal([machines.target, machines.find(MAC)], [next, undefined]);
  assert.is(machines.offerMachine("52:54:00:00:00:02").hostname, next.machines[0]!.hostname);
  assert.equal(machines.offerMachine(MAC), { mayBoot: true });
});

test("a rejected machine gets an address and no boot file", () => {
  const machines = createMachines();
  machines.setTarget(target([bootMachine(MAC, { rejected: true })]));
  assert.not.ok(machines.offerMachine(MAC).mayBoot);
  assert.ok(machines.offerMachine("52:54:00:00:00:77").mayBoot);
  assert.is(choose({ machine: bootMachine(MAC, { rejected: true }) }).kind, "rejected");
});

test("what a machine boots: its own image, its profile's, the current one; or the reason why none", () => {
  const own = bootMachine(MAC, { imageId: "own" });
  const profiled = bootMachine(MAC, { profile: { ...bootMachine(MAC).profile, image: "pinned" } });
  const idOf = (choice: ReturnType<typeof choose>) => ("image" in choice ? choice.image.manifest.id : undefined);
  assert.is(idOf(choose({ machine: own })), "own");
  assert.is(idOf(choose({ machine: profiled })), "pinned");
  assert.is(idOf(choose({ target: target([], "latest") })), "latest");
  assert.equal(choose(), { kind: "wait", code: "no-image", why: "there is no boot image yet: flynn image build" });
  const refused = choose({ machine: own, imageOf: () => undefined, refusalOf: () => "initrd is missing" });
  assert.equal(refused, {
    kind: "wait",
    code: "image-not-servable",
    why: "boot image own cannot be served: initrd is missing",
  });
});

test("a command line that iPXE could not pass on is told to people, and the machine waits", () => {
  for (const word of ["a b", "$(id)", "x`y`", "||", 'say="hi"']) {
    const profile = { ...bootMachine(MAC).profile, cmdline: ["quiet", word] };
    const choice = choose({ machine: bootMachine(MAC, { imageId: "own", profile }) });
    assert.is(choice.kind, "wait", word);
    assert.match((choice as { note: string }).note, /flynn profile set default --cmdline/);
  }
});

test("a cloud-config that a profile has from before and that cannot be used now is told to people, and the machine waits", () => {
  const machine = bootMachine(MAC);
  const known = { target: target([machine], "i1") };
  const of = (cloudConfig: string) =>
    choose({ ...known, machine: { ...machine, profile: { ...machine.profile, cloudConfig } } });
  assert.is(of("timezone: UTC").kind, "boot");
  const waits = of("packages: [vim]");
  assert.ok(waits.kind === "wait");
  assert.match(waits.note ?? "", /profile .*: cloud-config: packages: .*flynn profile set .* --cloud-config FILE$/);
  assert.not.match(waits.why, "packages", "the console is anybody's");
});

test("what cannot stand in a command line is shown, eighty characters of it, whoever asked for it", () => {
  const long = `a ${"x".repeat(100)}`;
  const choice = choose({ machine: bootMachine(MAC, { imageId: "own" }), imageOf: (id) => image(id, ["quiet", long]) });
  assert.ok(
    (choice as { note: string }).note.startsWith(`"a ${"x".repeat(78)}" cannot stand in a kernel command line`),
  );
  assert.is((choice as { why: string }).why, "its kernel command line cannot be used; flynn machine explain says why");
});

test("a machine boots, or into a rescue shell, or from its own disk, as it was told to", () => {
  const told = (over: Parameters<typeof bootMachine>[1]) =>
    choose({ machine: bootMachine(MAC, { imageId: "own", ...over }) });
  const profile = { ...bootMachine(MAC).profile, cmdline: ["console=ttyS0", "quiet"] };
  const booted = told({ target: "boot" as never, profile });
  assert.equal([booted.kind, (booted as { image: VerifiedImage }).image.manifest.id], ["boot", "own"]);
  const rescued = told({ target: "rescue" as never });
  assert.equal([rescued.kind, (rescued as { image: VerifiedImage }).image.manifest.id], ["rescue", "own"]);
  const own = bootMachine(MAC, { target: "local-disk" as never });
  assert.equal(choose({ machine: own, imageOf: () => undefined }), { kind: "local-disk", machine: own });
});

test("an image of which nothing is here and nothing is known is said to be not here", () => {
  assert.equal(choose({ machine: bootMachine(MAC, { imageId: "own" }), imageOf: () => undefined }), {
    kind: "wait",
    code: "image-not-servable",
    why: "boot image own cannot be served: its files are not here",
  });
});

test("a machine that no image is for is sent on, approved or not; what is not known of it speaks against nothing", () => {
  const of = (claim: object, more: Partial<ChoiceInput> = {}) =>
    choose({ claimed: { mac: MAC, whole: true, ...claim }, ...more });
  assert.equal(of({ architecture: "riscv64", firmware: "uefi" }), { kind: "unsupported", what: "riscv64 UEFI" });
  assert.equal(of({ architecture: "i386", firmware: "uefi" }, { machine: undefined, target: undefined }), {
    kind: "unsupported",
    what: "32-bit x86 UEFI",
  });
  assert.is(of({ architecture: "arm64" }, { observed: { card: macOf(9) } }).kind, "refused", "not what it says it is");
  const known = { target: target([bootMachine(MAC)], "i1") };
  for (const claim of [{}, { architecture: "x86_64", firmware: "uefi" }, { architecture: "i386", firmware: "bios" }])
    assert.is(of(claim, known).kind, "boot", JSON.stringify(claim));
});

test("a machine boots the image of its own processor, whatever control took it for", () => {
  const images = [
    { id: "pc", architecture: "amd64", current: true },
    { id: "arm", architecture: "arm64", current: true },
  ];
  const both = { ...target([], "pc"), images } as unknown as BootTarget;
  const of = (claim: object, more: Partial<ChoiceInput> = {}) =>
    choose({
      target: both,
      claimed: { mac: MAC, whole: true, ...claim },
      imageOf: (id) => image(id, [], id === "arm" ? "arm64" : "amd64"),
      ...more,
    });
  const idOf = (choice: ReturnType<typeof choose>) => ("image" in choice ? choice.image.manifest.id : choice);
  const uefi = { architecture: "arm64", firmware: "uefi" };
  assert.is(idOf(of(uefi)), "arm");
  assert.is(idOf(of({ architecture: "x86_64" })), "pc");
  assert.is(idOf(of({})), "pc", "who says nothing is a PC");
  assert.is(idOf(of(uefi, { machine: bootMachine(MAC, { imageId: "pc" }) })), "arm");
  assert.equal(of(uefi, { target: { ...both, images: images.slice(0, 1) } as unknown as BootTarget }), {
    kind: "wait",
    code: "no-image-for-architecture",
    architecture: "arm64",
    why: "there is no boot image for arm64 yet: flynn image build --arch arm64",
  });
  const pinned = bootMachine(MAC, { profile: { ...bootMachine(MAC).profile, image: "pc" } });
  const waits = of(uefi, { machine: pinned });
  assert.ok(waits.kind === "wait");
  assert.is(waits.why, "boot image pc is for amd64, this machine is arm64");
  assert.match(waits.note ?? "", /flynn profile set default --image current$/);
});

test("without a target or approval the words are those that a stranger gets", () => {
  const waits = { kind: "wait", code: "waits-for-approval", why: "waiting for approval" };
  assert.equal(choose({ machine: undefined }), waits);
  assert.equal(choose({ machine: bootMachine(MAC, { target: "wait" }) }), waits);
  assert.equal(choose({ target: undefined }), {
    kind: "wait",
    code: "target-unknown",
    why: "the boot server has not heard from the control plane yet",
  });
});

test("without a target, without approval, or told to wait, a machine waits", () => {
  assert.is(choose({ target: undefined, machine: undefined }).kind, "wait");
  assert.is(choose({ machine: undefined }).kind, "wait");
  assert.is(choose({ machine: bootMachine(MAC, { target: "wait" }) }).kind, "wait");
});

test("from another card, or from none that is seen, there is no answer; in another body the card waits as any unknown one does", () => {
  assert.equal(choose({ observed: { card: "52:54:00:00:00:66" } }), { kind: "refused" });
  assert.equal(choose({ observed: {} }), { kind: "refused" });
  assert.equal(choose({ observed: {}, machine: undefined }), { kind: "refused" });
  const known = bootMachine(MAC, { serial: "A1", uuid: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0" });
  const changed = choose({ machine: known, claimed: { mac: MAC, serial: "B2", whole: true } });
  const unknown = choose({ machine: undefined });
  assert.is((changed as { why: string }).why, (unknown as { why: string }).why);
  assert.match((changed as { note: string }).note, /its serial is B2, not A1/);
});

test.run();
