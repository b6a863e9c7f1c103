// An image on its way into the cluster's registry, by Docker's own push.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { BuildFailure } from "../../../hostd/builds/failure.ts";
import { pushImage } from "../../../hostd/builds/push-image.ts";

const NAME = "10.0.0.1:5000/apps/app-1:build-1";

function rig(answers: (Error | undefined)[]) {
  const calls: string[] = [];
  const engine = {
    tagImage: async (ref: string, repository: string, tag?: string) =>
      void calls.push(`tag ${ref} ${repository} ${tag}`),
    async pushImage(repository: string, tag: string) {
      calls.push(`push ${repository} ${tag}`);
      const answer = answers.shift();
      if (answer) throw answer;
    },
    removeImage: async (ref: string, { keepParents }: { keepParents: boolean }) =>
      void calls.push(`untag ${ref} ${keepParents}`),
  };
  const { signal } = new AbortController();
  return {
    calls,
    push: (over = {}) =>
      pushImage({ engine, image: "sha256:1", name: NAME, signal, onRetry: () => undefined, retryMs: 1, ...over }),
  };
}

test("it is pushed under the name that control gave, again while control is away, and loses that name here", async () => {
  const { calls, push } = rig([new Fault("unavailable", "push the image"), undefined]);
  await push();
  assert.equal(calls, [
    "tag sha256:1 10.0.0.1:5000/apps/app-1 build-1",
    "push 10.0.0.1:5000/apps/app-1 build-1",
    "push 10.0.0.1:5000/apps/app-1 build-1",
    `untag ${NAME} true`,
  ]);
});

test("what the registry refuses is the build's end, in the registry's words; no patience is without end", async () => {
  const refused = rig([new Fault("forbidden", "the image has too many files")]);
  const error = await refused.push().catch((cause: unknown) => cause);
  assert.instance(error, BuildFailure);
  assert.is((error as Error).message, "the image has too many files");
  assert.is(refused.calls.at(-1), `untag ${NAME} true`);
  const away = rig(Array.from({ length: 99 }, () => new Fault("unavailable", "push the image")));
  const late = await away.push({ patienceMs: 5 }).catch((cause: unknown) => cause);
  assert.is((late as Error).message, "the result could not be sent to the cluster");
});

test.run();
