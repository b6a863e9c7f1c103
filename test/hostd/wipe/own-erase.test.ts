// Erasing by the disk itself: when it is offered, by which commands, and what follows when it does not do as it says. On no real disk:
// QEMU's NVMe disk does the same in test/lab/disks.test.ts.
import { open } from "node:fs/promises";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ExecError, type exec } from "#lib/exec.ts";
import { ataSecurity, canFormat, type ownErase as OwnErase, ownErase } from "../../../hostd/wipe/own-erase.ts";
import { wipeDisk } from "../../../hostd/wipe/wipe.ts";
import { look, MIB, makeDisk, owner, signal, withFolder } from "../state-disk/fixture.ts";

const SECURITY = (...lines: string[]) => `/dev/sda:

ATA device, with non-removable media
Commands/features:
	Enabled	Supported:
	   *	Security Mode feature set
Security: 
	Master password revision code = 65534
${lines.map((line) => `\t${line}\n`).join("")}	2min for SECURITY ERASE UNIT. 2min for ENHANCED SECURITY ERASE UNIT.
Logical Unit WWN Device Identifier: 5002538e40a0b0c0
`;
const OPEN = ["\tsupported", "not\tenabled", "not\tlocked", "not\tfrozen", "not\texpired: security count"];

test("ATA security erase is offered by a disk that can, has no password, and was not frozen by its firmware", () => {
  assert.equal(ataSecurity(SECURITY(...OPEN, "\tsupported: enhanced erase")), { enhanced: true });
  assert.equal(ataSecurity(SECURITY(...OPEN)), { enhanced: false });
  for (const [n, wrong] of ["not\tsupported", "\tenabled", "\tlocked", "\tfrozen"].entries())
    assert.is(ataSecurity(SECURITY(...OPEN.with(n, wrong))), undefined, wrong);
  assert.is(ataSecurity(""), undefined);
  assert.is(ataSecurity("Checksum: correct\n"), undefined);
});

test("NVMe format is offered where it takes no other namespace along", () => {
  const of = (oacs: number, fna: number) => JSON.stringify({ oacs, fna });
  const list = (...ids: number[]) => JSON.stringify({ nsid_list: ids.map((nsid) => ({ nsid })) });
  assert.ok(canFormat(of(2, 0), undefined));
  assert.ok(canFormat(of(6, 1), list(1)));
  assert.not.ok(canFormat(of(6, 1), list(1, 2)), "it would erase the other disk as well");
  assert.not.ok(canFormat(of(6, 2), undefined));
  assert.not.ok(canFormat(of(4, 0), list(1)));
  for (const text of [undefined, "", "no JSON", "{}", "[]"]) assert.not.ok(canFormat(text, list(1)));
});

test("NVMe format is not used where a namespace that is not attached here would go too, or may be there", async () => {
  const offered = (controller: string, all: string | Error) => {
    const { run } = programs({ "id-ctrl": controller, "--all": all, "list-ns": '{"nsid_list":[{"nsid":1}]}' });
    return ownErase({ path: "/dev/nvme0n1", thorough: false, run, signal });
  };
  const everyOne = '{"oacs":10,"fna":3,"nn":128}';
  assert.is(await offered(everyOne, '{"nsid_list":[{"nsid":1},{"nsid":2}]}'), undefined);
  assert.ok(await offered(everyOne, '{"nsid_list":[{"nsid":1}]}'));
  const cannot = new Error("Invalid Field in Command");
  assert.is(await offered('{"oacs":2,"fna":1,"nn":32}', cannot), undefined, "it does not list those of others");
  assert.ok(await offered('{"oacs":2,"fna":1,"nn":1}', cannot), "there can be no other");
  assert.ok(await offered('{"oacs":2,"fna":0,"nn":32}', cannot), "it takes none along");
});

/** What was run, and answers by the words of the command. */
function programs(answers: Record<string, string | Error>) {
  const ran: string[] = [];
  const run = (async (argv: readonly string[]) => {
    ran.push(argv.join(" "));
    const [, answer] = Object.entries(answers).find(([words]) => argv.join(" ").includes(words)) ?? [];
    if (answer instanceof Error) throw answer;
    return { stdout: answer ?? "", stderr: "" };
  }) as unknown as typeof exec;
  return { ran, run };
}

test("commands are given as words, each for its kind of disk", async () => {
  const nvme = programs({ "id-ctrl": '{"oacs":2,"fna":0}' });
  await (await ownErase({ path: "/dev/nvme0n1", thorough: false, run: nvme.run, signal }))!.erase();
  assert.match(nvme.ran.at(-1)!, /^nvme format \/dev\/nvme0n1 --ses=1 --force --timeout=\d+$/);
  const ata = programs({ "-I": SECURITY(...OPEN, "\tsupported: enhanced erase") });
  await (await ownErase({ path: "/dev/sda", thorough: true, run: ata.run, signal }))!.erase();
  assert.equal(ata.ran.slice(1), [
    "hdparm --user-master u --security-set-pass flynn /dev/sda",
    "hdparm --user-master u --security-erase-enhanced flynn /dev/sda",
  ]);
  const quick = programs({});
  assert.is(await ownErase({ path: "/dev/sda", thorough: false, run: quick.run, signal }), undefined, "hours, unasked");
  assert.is(await ownErase({ path: "/dev/vda", thorough: true, run: quick.run, signal }), undefined);
  assert.equal(quick.ran, []);
});

test("an ATA disk that fails to erase is left without a password, or it is said which one it has", async () => {
  const fails = new Error("the disk says no");
  const of = (more: Record<string, Error>) => programs({ "-I": SECURITY(...OPEN), "-erase": fails, ...more });
  const left = of({});
  const why = (run: typeof exec) =>
    ownErase({ path: "/dev/sda", thorough: true, run, signal })
      .then((offered) => offered!.erase())
      .then(String, (error: Error) => error.message);
  assert.is(await why(left.run), "the disk says no");
  assert.is(left.ran.at(-1), "hdparm --user-master u --security-disable flynn /dev/sda");
  assert.match(await why(of({ "-disable": fails }).run), /^\/dev\/sda has the password "flynn" now/);
});

async function wiped(own: typeof OwnErase, method: "auto" | "secure" = "auto") {
  let evidence: Awaited<ReturnType<typeof wipeDisk>> | undefined;
  const parts: string[] = [];
  await withFolder(async (folder) => {
    const disk = await makeDisk(join(folder, "disk"), { content: [[5 * MIB, "data"]] });
    const { fingerprint } = await look(disk);
    evidence = await wipeDisk({
      ...{ disk, owner, canDiscard: true, own, signal, onProgress: () => undefined },
      task: {
        orderId: "mo_1",
        fingerprint,
        path: "/dev/sda",
        sizeBytes: disk.sizeBytes,
        method,
        verify: "all",
        begun: false,
      },
      async erasePart({ means, path, at, length }) {
        parts.push(means);
        if (means === "secure") throw new ExecError(["blkdiscard"], "exited 1", { stderr: "Operation not supported" });
        await makeZero(path, at, length);
      },
    });
  });
  return { did: evidence!.did, parts };
}

async function makeZero(path: string, at: number, length: number): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(length), 0, length, at);
  await file.close();
}

test("what the disk did by itself is read back as anything else; where it is not zero it is discarded, then written over", async () => {
  const words = "erased by the disk itself (NVMe format)";
  const honest: typeof OwnErase = async ({ path }) => ({ words, erase: () => makeZero(path, 4096, 16 * MIB - 4096) });
  assert.equal(await wiped(honest), { did: words, parts: [] });
  const lies: typeof OwnErase = async () => ({ words, erase: async () => undefined });
  assert.equal(await wiped(lies), { did: `${words}, then discarded`, parts: ["discard"] });
  assert.equal((await wiped(lies, "secure")).did, `${words}, then zeros written`);
  assert.is((await wiped(async () => undefined)).did, "discarded");
  const refused = await wiped(async () => undefined, "secure").then(String, (error: Error) => String(error.cause));
  assert.match(refused, /has no secure erase that this host can use/);
});

test.run();
