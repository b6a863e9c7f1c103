// Whose certificate a name is: one's, whatever two people do at once.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { keys } from "../../../control/keys.ts";
import {
  type CertificateRecord,
  certificateChanges,
  findCertificate,
  shown,
} from "../../../control/routing/certificates.ts";
import { type Rig, withRig } from "../rig.ts";

const quiet = { loops: false };
const record = (id: string, names: string[], more: Partial<CertificateRecord> = {}): CertificateRecord =>
  ({ id, names, sealedKey: `sealed key of ${id}`, ...more }) as CertificateRecord;
const code = async (act: () => Promise<unknown>): Promise<string> => {
  try {
    await act();
  } catch (error) {
    return isFault(error) ? error.code : String(error);
  }
  return "done";
};
const commit = ({ store }: Rig, changes: ReturnType<typeof certificateChanges>) =>
  store.commit({ actor: "test", ...changes });
const ownerOf = ({ store }: Rig, name: string) => store.get<string>(keys.certificateName(name))?.value;

test("of two that add a certificate for one name at once, one does", () =>
  withRig(async (rig) => {
    const [one, other] = [
      certificateChanges(rig.store, record("crt-1", ["a.test", "b.test"])),
      certificateChanges(rig.store, record("crt-2", ["b.test", "c.test"])),
    ];
    const answers = await Promise.all([code(() => commit(rig, one)), code(() => commit(rig, other))]);
    assert.equal(answers, ["done", "conflict"]);
    assert.equal(
      ["a.test", "b.test", "c.test"].map((name) => ownerOf(rig, name)),
      ["crt-1", "crt-1", undefined],
    );
  }, quiet));

test("of two that replace one certificate, the one that saw an older one loses, and may look again", () =>
  withRig(async (rig) => {
    await commit(rig, certificateChanges(rig.store, record("crt-1", ["a.test"])));
    const before = findCertificate(rig.store, "crt-1");
    const one = certificateChanges(rig.store, record("crt-1", ["a.test"], { issuer: "one" }), before);
    const other = certificateChanges(rig.store, record("crt-1", ["a.test"], { issuer: "other" }), before);
    await commit(rig, one);
    assert.is(await code(() => commit(rig, other)), "precondition");
    assert.is(findCertificate(rig.store, "crt-1").value.issuer, "one");
    const again = record("crt-1", ["a.test"], { issuer: "other" });
    await commit(rig, certificateChanges(rig.store, again, findCertificate(rig.store, "crt-1")));
    assert.is(findCertificate(rig.store, "a.test").value.issuer, "other");
  }, quiet));

test("a replaced certificate gives up the names it no longer has, and takes the new ones", () =>
  withRig(async (rig) => {
    await commit(rig, certificateChanges(rig.store, record("crt-1", ["a.test", "b.test"])));
    const before = findCertificate(rig.store, "b.test");
    await commit(rig, certificateChanges(rig.store, record("crt-1", ["b.test", "c.test"]), before));
    assert.equal(
      ["a.test", "b.test", "c.test"].map((name) => ownerOf(rig, name)),
      [undefined, "crt-1", "crt-1"],
    );
    await commit(rig, certificateChanges(rig.store, record("crt-2", ["a.test"])));
    assert.is(findCertificate(rig.store, "A.test").value.id, "crt-2");
    assert.is(await code(async () => certificateChanges(rig.store, record("crt-3", ["x.test", "c.test"]))), "conflict");
    assert.is(await code(async () => findCertificate(rig.store, "x.test")), "not-found");
  }, quiet));

test("a certificate that was removed meanwhile is not brought back by its replacement", () =>
  withRig(async (rig) => {
    await commit(rig, certificateChanges(rig.store, record("crt-1", ["a.test"])));
    const late = certificateChanges(rig.store, record("crt-1", ["a.test"]), findCertificate(rig.store, "crt-1"));
    const removed = [keys.certificate("crt-1"), keys.certificateName("a.test")];
    await rig.store.commit({ actor: "test", mutations: removed.map((key) => ({ key, value: null })) });
    assert.is(await code(() => commit(rig, late)), "precondition");
  }, quiet));

test("what is shown of it is not its key", () => {
  assert.not.match(JSON.stringify(shown(record("crt-1", ["a.test"]))), /sealed/);
});

test.run();
