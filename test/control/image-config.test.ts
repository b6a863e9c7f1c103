import { test } from "uvu";
import * as assert from "uvu/assert";
import { isFault } from "#api/fault.ts";
import { checkImageConfig } from "../../control/image-config.ts";

const refusal = (config: unknown, text = JSON.stringify(config)): string | undefined => {
  try {
    checkImageConfig(text);
  } catch (error) {
    assert.ok(isFault(error));
    assert.is(error.code, "invalid");
    return error.message;
  }
};
const image = (config: object) => ({ architecture: "amd64", os: "linux", config });
const KIB = 1024;

for (const [what, config, wanted] of [
  ["no labels and no environment", image({}), undefined],
  ["labels as null, as Docker writes none", image({ Labels: null, Env: null }), undefined],
  [
    "labels of a buildpack's image",
    image({ Labels: { "io.buildpacks.build.metadata": "x".repeat(200 * KIB) } }),
    undefined,
  ],
  [
    "one label of 300 KiB",
    image({ Labels: { note: "x".repeat(300 * KIB) } }),
    /labels are .*, and may be 256 KiB: put/,
  ],
  [
    "many small labels",
    image({ Labels: Object.fromEntries(Array.from({ length: 40_000 }, (_, n) => [`l${n}`, ""])) }),
    /labels are/,
  ],
  [
    "an environment of 200 KiB",
    image({ Env: Array(20).fill(`A=${"x".repeat(10 * KIB)}`) }),
    /environment is .*, and may be 128 KiB/,
  ],
  [
    "another architecture",
    { architecture: "s390x", os: "linux" },
    /for linux\/s390x, hosts are linux\/amd64 or linux\/arm64/,
  ],
  ["another system", { architecture: "amd64", os: "windows" }, /for windows\/amd64/],
] as const)
  test(`an image with ${what} is ${wanted === undefined ? "taken" : "refused in words"}`, () => {
    const message = refusal(config);
    if (wanted === undefined) assert.is(message, undefined);
    else assert.match(message ?? "", wanted);
  });

test("a config that is no JSON object is refused, as is one that nobody would read", () => {
  for (const text of ["", "null", "[]", "{", '"amd64"'])
    assert.match(refusal(undefined, text) ?? "", /not a JSON object/);
  assert.match(refusal({ ...image({}), history: "x".repeat(5 << 20) }) ?? "", /config is 5/);
  const most = JSON.stringify(image({})).padEnd(4 << 20, " ");
  assert.is(refusal(undefined, most), undefined, "4 MiB are taken");
  assert.match(refusal(undefined, `${most} `) ?? "", /config is 4/);
});

test.run();
