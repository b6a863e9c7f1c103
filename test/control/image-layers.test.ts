// What an image weighs once unpacked, whoever made its archive.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { imageLayers, type Weight } from "../../control/image-layers.ts";
import { refusal } from "./faults.ts";

type Piece = [name: string, weight: Weight | "link"];
const of = (bytes: number, entries = 1): Weight => ({ bytes, entries });
function weigh(pieces: Piece[], ...manifests: unknown[]): Weight {
  const layers = imageLayers();
  for (const [name, weight] of pieces) layers.piece(name, weight);
  for (const manifest of manifests) layers.manifest(typeof manifest === "string" ? manifest : JSON.stringify(manifest));
  return layers.weight();
}

const AB: Piece[] = [
  ["a/layer.tar", of(100, 3)],
  ["b/layer.tar", of(10, 9)],
];
const CASES: [claim: string, pieces: Piece[], manifests: unknown[], weight: Weight][] = [
  ["each layer that the image names counts", AB, [[{ Layers: ["a/layer.tar", "b/layer.tar"] }]], of(110, 12)],
  ["a layer that no image names counts nothing", AB, [[{ Layers: ["b/layer.tar"] }]], of(10, 9)],
  ["a layer counts as often as it is named", AB, [{ Layers: Array(3).fill("b/layer.tar") }], of(30, 27)],
  [
    "of several images the heaviest counts, in each measure",
    AB,
    [[{ Layers: ["a/layer.tar"] }, { Layers: ["b/layer.tar"] }]],
    of(100, 9),
  ],
  [
    "of several manifests the heaviest counts",
    AB,
    [{ Layers: ["b/layer.tar"] }, { Layers: ["a/layer.tar"] }],
    of(100, 9),
  ],
  ["a name that is not there counts as the heaviest piece", AB, [{ Layers: ["gone"] }], of(100, 9)],
  ["a link may stand for the heaviest", [...AB, ["c", "link"]], [{ Layers: ["c"] }], of(100, 9)],
  [
    "a link stays one, whatever comes under its name",
    [...AB, ["c", "link"], ["c", of(1)]],
    [{ Layers: ["c"] }],
    of(100, 9),
  ],
  ["a file that becomes a link is one", [...AB, ["b/layer.tar", "link"]], [{ Layers: ["b/layer.tar"] }], of(100, 9)],
  [
    "of two files of one name the heavier counts, in each measure",
    [...AB, ["b/layer.tar", of(50, 2)]],
    [{ Layers: ["b/layer.tar"] }],
    of(50, 9),
  ],
  ["names are compared as paths", AB, [{ Layers: ["./a/../b//layer.tar"] }], of(10, 9)],
  [
    "and so are those of files",
    [
      ["./x/", of(5)],
      ["big", of(50)],
    ],
    [{ Layers: ["x"] }],
    of(5),
  ],
  [
    "of an OCI layout the digests are the names",
    [
      ["blobs/sha256/aa", of(7)],
      ["big", of(70)],
    ],
    [{ layers: [{ digest: "sha256:aa" }] }],
    of(7),
  ],
  [
    "as are those of the first schema",
    [
      ["blobs/sha256/aa", of(7)],
      ["big", of(70)],
    ],
    [{ fsLayers: [{ blobSum: "sha256:aa" }] }],
    of(7),
  ],
  [
    "a layer with two digests counts as the heaviest",
    [
      ["blobs/sha256/aa", of(7)],
      ["big", of(70)],
    ],
    [{ layers: [{ digest: "sha256:aa", Digest: "sha256:aa" }] }],
    of(70),
  ],
  ["a layer without one as well", AB, [{ layers: [{ size: 1 }, null, 7, { digest: 7 }] }], of(400, 36)],
  ["keys are found in any case, and with the long s of Unicode", AB, [{ "LAYER\u017f": ["b/layer.tar"] }], of(10, 9)],
  ["two lists of layers are two images", AB, [{ Layers: ["a/layer.tar"], layers: ["b/layer.tar"] }], of(100, 9)],
  [
    "what is no manifest weighs nothing",
    AB,
    ["{", "null", "7", "[]", '"x"', { Config: ["a/layer.tar"] }, { Layers: "a" }, [null]],
    of(0, 0),
  ],
  ["nothing weighs nothing", [], [], of(0, 0)],
  ["an image without layers as well", AB, [{ Layers: [] }], of(0, 0)],
];
for (const [claim, pieces, manifests, weight] of CASES)
  test(claim, () => assert.equal(weigh(pieces, ...manifests), weight));

test("a name of 512 characters is known, a longer one counts as the heaviest", () => {
  const [fits, long] = ["x".repeat(512), "x".repeat(513)];
  for (const [name, bytes] of [
    [fits, 1],
    [long, 9],
  ] as const)
    assert.is(
      weigh(
        [
          [name, of(1)],
          ["big", of(9)],
        ],
        { Layers: [name] },
      ).bytes,
      bytes,
    );
});

test("4,096 names are known; with one more, every layer counts as the heaviest", () => {
  const pieces = Array.from({ length: 4_096 }, (_, n): Piece => [`l${n}`, of(n === 0 ? 9 : 1)]);
  assert.is(weigh(pieces, { Layers: ["l1"] }).bytes, 1);
  assert.is(weigh([...pieces, ["l5", of(2)]], { Layers: ["l1", "l5"] }).bytes, 3, "a second of a known name");
  assert.is(weigh([...pieces, ["one more", of(1)]], { Layers: ["l1"] }).bytes, 9);
});

test("an image of 127 layers is taken, one more is refused, as is an archive of more than 4,096 images", () => {
  const image = (count: number) => JSON.stringify({ Layers: Array(count).fill("a") });
  assert.is(
    refusal(() => imageLayers().manifest(image(127))),
    "fine",
  );
  assert.is(
    refusal(() => imageLayers().manifest(image(128))),
    "invalid the image has 128 layers, 127 is the most that hosts take",
  );
  const images = (count: number) => JSON.stringify(Array(count).fill({ Layers: [] }));
  assert.is(
    refusal(() => imageLayers().manifest(images(4_096))),
    "fine",
  );
  assert.is(
    refusal(() => imageLayers().manifest(images(4_097))),
    "invalid the archive has too many images",
  );
});

test.run();
