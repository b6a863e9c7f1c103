// Names of images, spelled out as Docker means them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { formatReference, localName, parseReference } from "../../../hostd/builds/image-reference.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const spelled = (text: string) => {
  const reference = parseReference(text);
  return reference && formatReference(reference);
};

const NAMES: [written: string, means: string][] = [
  ["node", "docker.io/library/node:latest"],
  ["node:24", "docker.io/library/node:24"],
  ["library/node", "docker.io/library/node:latest"],
  ["me/app:v1.2_3-x", "docker.io/me/app:v1.2_3-x"],
  ["docker.io/node", "docker.io/library/node:latest"],
  ["index.docker.io/node", "docker.io/library/node:latest"],
  ["docker.io/me/app", "docker.io/me/app:latest"],
  ["ghcr.io/me/app", "ghcr.io/me/app:latest"],
  ["ghcr.io/app", "ghcr.io/app:latest"],
  ["localhost/app", "localhost/app:latest"],
  ["LocalHost/app", "LocalHost/app:latest"],
  ["registry:5000/app:1", "registry:5000/app:1"],
  ["10.0.0.1:5000/a/b/c:1", "10.0.0.1:5000/a/b/c:1"],
  ["Registry/app", "Registry/app:latest"],
  ["registry/app", "docker.io/registry/app:latest"],
  [`node@${DIGEST}`, `docker.io/library/node@${DIGEST}`],
  [`node:24@${DIGEST}`, `docker.io/library/node@${DIGEST}`],
  ["x/a__b.c-d--e", "docker.io/x/a__b.c-d--e:latest"],
  [`a:${"t".repeat(128)}`, `docker.io/library/a:${"t".repeat(128)}`],
  ["a".repeat(512), `docker.io/library/${"a".repeat(512)}:latest`],
];
test("a name without a registry is Docker Hub's, without a tag the latest; a digest says more than a tag", () => {
  for (const [written, means] of NAMES) assert.is(spelled(written), means);
});

test("what is no name is none", () => {
  for (const text of [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "A",
    "a/B",
    "a:",
    "a:b:c",
    ":a",
    "-a",
    "a-",
    "a..b",
    "a___b",
    "a b",
    "a@sha256:ab",
  ])
    assert.is(spelled(text), undefined, text);
  for (const text of [
    `a:${"t".repeat(129)}`,
    "a:-t",
    "a:.t",
    `a@sha512:${"ab".repeat(64)}`,
    "-a.b/c",
    "a.b-/c",
    "a.b:123456/c",
    "a.b:/c",
  ])
    assert.is(spelled(text), undefined, text);
  for (const text of ["a".repeat(513), "a_.b/x", "ho_st:5000/x", "a.b:x/c", "http://a/b", "a\n", "é"])
    assert.is(spelled(text), undefined, text);
});

test("the parts of a name are known apart", () => {
  assert.equal(parseReference("ghcr.io/me/app:1"), { domain: "ghcr.io", path: "me/app", tag: "1" });
  assert.equal(parseReference(`ghcr.io/me/app:1@${DIGEST}`), { domain: "ghcr.io", path: "me/app", digest: DIGEST });
  assert.equal(parseReference("node"), { domain: "docker.io", path: "library/node", tag: "latest" });
});

test("what hostd fetched has a name that stands for no machine, one for each image and spelling of it", () => {
  const names = ["node", "docker.io/library/node:latest", "node:24", `node@${DIGEST}`].map((text) =>
    localName(parseReference(text)!),
  );
  for (const name of names) assert.match(name, /^base\.invalid\/[0-9a-f]{40}$/);
  assert.is(names[0], names[1]);
  assert.is(new Set(names).size, 3);
});

test.run();
