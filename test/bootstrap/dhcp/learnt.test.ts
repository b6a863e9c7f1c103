import { test } from "uvu";
import * as assert from "uvu/assert";
import { createLadder } from "../../../bootstrap/dhcp/ladder.ts";
import { createLearnt, firmwareKind, type Lesson } from "../../../bootstrap/dhcp/learnt.ts";
import type { Loader } from "../../../bootstrap/dhcp/loader.ts";

const BOTH: Loader[] = ["ipxe", "shim"];
const KIND = "x86_64 UNDI:003000 52:54:00";
const mac = (n: number) => `52:54:00:00:00:0${n}`;
const rig = (kept: Lesson[] = []) => {
  const learnt = createLearnt({ save: (lesson) => void kept.push(lesson) });
  for (const lesson of [...kept]) learnt.replay(lesson);
  return { kept, ladder: createLadder({ maxKeys: 10, learnt }) };
};
const offered = (ladder: ReturnType<typeof createLadder>, n: number, loaders = BOTH) =>
  ladder.discovered(mac(n), KIND, loaders);

test("firmware that fetched iPXE and came back as firmware is offered the signed shim, once, with the reason", () => {
  const { ladder } = rig();
  assert.is(offered(ladder, 1).loader, "ipxe");
  ladder.fetched(mac(1), "ipxe");
  const next = offered(ladder, 1);
  assert.equal([next.loader, next.refusedLoader], ["shim", "ipxe"]);
  assert.equal([offered(ladder, 1).loader, offered(ladder, 1).refusedLoader], ["shim", undefined]);
});

test("a machine whose iPXE ran is not given the shim at its next boot, also when its script never came", () => {
  const { ladder } = rig();
  offered(ladder, 1);
  ladder.fetched(mac(1), "ipxe");
  ladder.started(mac(1));
  assert.is(offered(ladder, 1).loader, "ipxe");
});

test("a shim that does not get to its script either is followed by iPXE again", () => {
  const { ladder } = rig();
  for (const loader of ["ipxe", "shim"] as const) {
    assert.is(offered(ladder, 1).loader, loader);
    ladder.fetched(mac(1), loader);
  }
  assert.is(offered(ladder, 1).loader, "ipxe");
});

test("where there is one loader it is offered again and again", () => {
  const { ladder } = rig();
  for (let n = 0; n < 3; n++) {
    assert.equal(offered(ladder, 1, ["ipxe"]).loader, "ipxe");
    ladder.fetched(mac(1), "ipxe");
  }
});

test("what ran is kept over a restart, for its machine and as the beginning of others of its kind", () => {
  const first = rig();
  offered(first.ladder, 1);
  first.ladder.fetched(mac(1), "ipxe");
  offered(first.ladder, 1);
  first.ladder.fetched(mac(1), "shim");
  const lesson = first.ladder.ran(mac(1), "shim", "PowerEdge R640");
  assert.equal(lesson, { mac: mac(1), kind: KIND, rung: 0, loader: "shim", product: "PowerEdge R640" });
  assert.equal(first.kept, [lesson]);
  const again = rig(first.kept);
  assert.is(offered(again.ladder, 1).loader, "shim");
  assert.is(offered(again.ladder, 2).loader, "shim", "the same kind");
  assert.is(again.ladder.discovered("aa:bb:cc:00:00:01", "x86_64 UNDI:003000 aa:bb:cc", BOTH).loader, "ipxe");
});

test("the same lesson is learnt once; the shape of offer that was taken belongs to it", () => {
  const { ladder, kept } = rig();
  const boots = () => {
    ladder.fetched(mac(1), "ipxe");
    return ladder.ran(mac(1), "ipxe");
  };
  for (let n = 0; n < 3; n++) offered(ladder, 1); // ignored twice: the second shape
  assert.equal(boots(), { mac: mac(1), kind: KIND, rung: 1, loader: "ipxe" });
  offered(ladder, 1);
  assert.is(boots(), undefined);
  assert.is(kept.length, 1);
  assert.is(rig(kept).ladder.discovered(mac(2), KIND, BOTH).rung, 1);
});

test("of what machines of a kind took the more frequent is the beginning of the next", () => {
  const lessons = ["ipxe", "shim", "shim"].map((loader, n) => ({ mac: mac(n), kind: KIND, rung: 0, loader }) as Lesson);
  assert.is(offered(rig(lessons).ladder, 9).loader, "shim");
  const changed = { ...lessons[1]!, loader: "ipxe" } as Lesson;
  assert.is(offered(rig([...lessons, changed]).ladder, 9).loader, "ipxe", "its first lesson counts no more");
});

test("a card whose own ROM is iPXE teaches nothing: it fetched no loader", () => {
  const { ladder, kept } = rig();
  assert.is(ladder.ran(mac(1), "ipxe"), undefined);
  offered(ladder, 1);
  assert.is(ladder.ran(mac(1), "ipxe"), undefined);
  assert.equal(kept, []);
});

test("of more lessons than are kept the oldest go", () => {
  const learnt = createLearnt({ save: () => undefined, maxKeys: 2 });
  for (const n of [1, 2, 3]) learnt.keep({ mac: mac(n), kind: `kind ${n}`, rung: 0, loader: "shim" });
  assert.equal(
    [...learnt.lessons()].map((lesson) => lesson.mac),
    [mac(2), mac(3)],
  );
  assert.is(learnt.begins(mac(4), "kind 1"), undefined);
});

test("firmware is one kind by PXE and by HTTP, another with another card or another driver", () => {
  const kind = firmwareKind("PXEClient:Arch:00007:UNDI:003000", "x86_64", mac(1));
  assert.is(kind, KIND);
  assert.is(firmwareKind("HTTPClient:Arch:00016:UNDI:003000", "x86_64", mac(2)), kind);
  assert.is(firmwareKind(undefined, undefined, mac(1)), "52:54:00");
});

test.run();
