// Which images at hand a Dockerfile may be made from.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fetchBaseImages } from "../../../hostd/builds/base-images.ts";
import { localName, parseReference } from "../../../hostd/builds/image-reference.ts";
import type { BuildRun } from "../../../hostd/builds/run.ts";
import { fakeBuilds } from "./fake.ts";

const NAME = "127.0.0.1:5000/apps/app-1:t1";
const reference = parseReference(NAME)!;

async function fetched(atHand: string): Promise<string> {
  const { engine } = fakeBuilds();
  const facts = await engine.inspectImage(NAME);
  const tagged: string[] = [];
  const parts = {
    engine: {
      ...engine,
      inspectImage: async (name: string) => (name === atHand || tagged.includes(name) ? facts : undefined),
      tagImage: async (_: string, name: string) => void tagged.push(name),
    },
    freeBytes: async () => 2 ** 40,
    clusterAddresses: () => [],
  };
  const target = { registry: "10.77.0.9:5000", clusterRange: "100.64.0.0/16", peers: [] };
  const run = {
    parts,
    target,
    build: {},
    signal: new AbortController().signal,
    onProgress: () => undefined,
    say: () => undefined,
  };
  return fetchBaseImages({ images: [{ reference, line: 1 }] }, run as unknown as BuildRun).then(
    () => "taken",
    (error: Error) => error.message,
  );
}

test("an image that hostd fetched is taken; one that is here under its own name is not, for it may be an app's", async () => {
  assert.is(await fetched(localName(reference)), "taken");
  assert.match(await fetched(NAME), /^line 1: FROM 127.0.0.1:5000\/apps\/app-1:t1: .*closed to builds/);
});

test.run();
