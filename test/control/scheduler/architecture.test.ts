// An image runs on the processor that it is for: jobs go there and nowhere else, and who waits is told for what.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Job } from "#api/jobs.ts";
import { keys } from "../../../control/keys.ts";
import type { ReleaseRecord } from "../../../control/records.ts";
import { type World, world } from "./world.ts";

const test = suite<{ w: World }>("architecture");
test.before.each(async (context) => {
  context.w = await world();
});
test.after.each(({ w }) => w.close());

/** An app of which the image is for this architecture. */
async function appFor(w: World, id: string, architecture: string, count: number): Promise<void> {
  await w.app(id, { web: 0 });
  const key = keys.release(id, `${id}-r1`);
  const release = w.store.get<ReleaseRecord>(key)!.value;
  await w.store.commit({
    actor: "test",
    mutations: [
      { key: keys.artifact(`image-${id}`), value: { id: `image-${id}`, appId: id, architecture } },
      { key, value: { ...release, artifactId: `image-${id}` } },
    ],
  });
  await w.scale(id, { web: count });
}

const hostsOf = (jobs: Job[]) => jobs.map(({ hostId }) => hostId).sort();
const never = new AbortController().signal;

test("jobs are placed on hosts of their image's architecture, and a host that says none is as all were before", async ({
  w,
}) => {
  await w.host("arm", { architecture: "arm64" });
  await w.host("pc", { architecture: "amd64" });
  await w.host("old");
  await appFor(w, "a", "arm64", 2);
  await appFor(w, "b", "amd64", 2);
  const s = w.start();
  await s.settled();
  assert.equal(
    [hostsOf(w.live("a")), hostsOf(w.live("b"))],
    [
      ["arm", "arm"],
      ["old", "pc"],
    ],
  );
  assert.is(await s.scheduler.sweep(never), 0);
});

test("a job whose image is for no host there is waits in words, and goes to the first such host that joins", async ({
  w,
}) => {
  await w.host("pc", { architecture: "amd64" });
  await appFor(w, "a", "arm64", 1);
  const s = w.start();
  await s.settled();
  const [job] = w.live("a");
  assert.equal([job?.hostId, job?.reason], [undefined, "no host in use is arm64, and the image is for arm64"]);
  assert.equal(s.scheduler.explain(job!), [{ host: "pc", fits: false, why: "is amd64, and the image is for arm64" }]);
  assert.equal(job?.tags, {}, "nothing of it is among the tags that people gave");
  await w.host("arm", { architecture: "arm64" });
  await s.settled();
  assert.equal(hostsOf(w.live("a")), ["arm"]);
});

test.run();
