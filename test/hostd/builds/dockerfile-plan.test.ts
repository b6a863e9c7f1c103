// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of Dockerfiles
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { refuseRegistry, stackImage } from "../../../hostd/builds/base-images.ts";
import { checkTrigger, planDockerfile } from "../../../hostd/builds/dockerfile-plan.ts";
import { DockerfileError } from "../../../hostd/builds/dockerfile-syntax.ts";
import { formatReference, parseReference } from "../../../hostd/builds/image-reference.ts";

const plan = (text: string, args: Record<string, string> = {}) =>
  planDockerfile({ text, args, cacheKey: "app-1-0", platform: "linux/amd64" });
const images = (text: string, args?: Record<string, string>) =>
  plan(text, args).images.map(({ reference }) => formatReference(reference));
const refusal = (text: string): string => {
  try {
    plan(text);
  } catch (error) {
    if (error instanceof DockerfileError) return error.message;
    throw error;
  }
  return "";
};

test("image names are spelled out, so that none is taken for an id of a local image", () => {
  for (const [written, spelled] of [
    ["node", "docker.io/library/node:latest"],
    ["a1b2c3d4e5f6", "docker.io/library/a1b2c3d4e5f6:latest"],
    ["index.docker.io/node:20", "docker.io/library/node:20"],
    ["ghcr.io/x/y", "ghcr.io/x/y:latest"],
    ["localhost/x", "localhost/x:latest"],
    ["LOCALHOST:5000/x", "LOCALHOST:5000/x:latest"],
    [`x@sha256:${"a".repeat(64)}`, `docker.io/library/x@sha256:${"a".repeat(64)}`],
    [`sha256:${"a".repeat(64)}`, `docker.io/library/sha256:${"a".repeat(64)}`],
  ] as const)
    assert.is(formatReference(parseReference(written)!), spelled);
  for (const bad of ["", "Node", "a b", "http://x/y", "x:", "../x", "[::1]:5000/x", "x@sha256:12", "a//b", "-x"])
    assert.is(parseReference(bad), undefined, bad);
});

test("what FROM and COPY --from name is found out through arguments, quotes and defaults", () => {
  assert.equal(images('ARG A="reg.example/x"\nARG V=1\nFROM ${A}:$V\n'), ["reg.example/x:1"]);
  assert.equal(images("ARG A=node\nFROM $A\n", { A: "ruby" }), ["docker.io/library/ruby:latest"]);
  assert.equal(images("ARG A\nFROM ${A:-python}${A:+x}\n"), ["docker.io/library/python:latest"]);
  assert.equal(images("ARG H=ost\nFROM h\\$H'x'\"y\"\n".replace("\\$", "$")), ["docker.io/library/hostxy:latest"]);
  assert.equal(images("FROM scratch AS a\nFROM A as b\nCOPY --from=a /x /x\nCOPY --from=0 /x /x\n"), []);
  assert.equal(images("FROM scratch\nCOPY --from=later /x /x\nFROM scratch AS later\n"), [
    "docker.io/library/later:latest",
  ]);
  assert.equal(images("FR\\\nOM no\\\n# comment\n\nde\n"), ["docker.io/library/node:latest"]);
  assert.equal(images("# escape=`\nFROM no`\nde\n"), ["docker.io/library/node:latest"]);
});

test("what cannot be read with certainty, or is fetched by Docker from where the host is, is refused", () => {
  for (const [text, why] of [
    ["FROM ${A#x}\n", /cannot be told/],
    ["FROM $A\n", /cannot be told/],
    ["FROM a b c d\n", /followed by an image/],
    ["RUN x\n", /comes before the first FROM/],
    ["", /no FROM/],
    ["FROM --platform=linux/s390x x\n", /builds for linux\/amd64 only/],
    ["FROM x\nCOPY --from=$A / /\n", /cannot be read/],
    ['FROM x\nCOPY --fr"om"=y / /\n', /needs BuildKit/],
    ["FROM x\nCOPY --link a b\n", /needs BuildKit/],
    ["FROM x\nRUN --mount=type=cache,target=/x y\n", /needs BuildKit/],
    ["FROM x\nADD http://169.254.169.254/ /x\n", /ADD of an address/],
    ["FROM x\nADD a.txt HTTPS://c/ /x\n", /ADD of an address/],
    ['FROM x\nADD ["http://c", "/x"]\n', /ADD of an address/],
    ['FROM x\nADD ["http://c", "/x"] more\n', /ADD with variables or quotes/],
    ['FROM x\nADD ["\\u0068ttp://c", "/x"]\n', /ADD of an address/],
    ['FROM x\nADD ht"tp"://c /x\n', /ADD with variables or quotes/],
    ["FROM x\nADD h\\ttp://c /x\n", /ADD with variables or quotes/],
    ["FROM x\nADD $A /x\n", /ADD with variables or quotes/],
    ["FROM x\nADD git@c:x /x\n", /ADD of an address/],
    ["FROM x\nONBUILD ADD http://c /x\n", /ADD of an address/],
    ["FROM x\nONBUILD COPY --from=y / /\n", /is refused here/],
    ["FROM x\nCOPY <<EOF /x\n", /needs BuildKit/],
    ["FROM x\nR=x y\n", /unknown instruction/],
  ] as const)
    assert.match(refusal(text), why, text);
  assert.throws(() => checkTrigger("ADD http://c /x"), /ADD of an address/);
  assert.throws(() => checkTrigger("COPY --from=x / /"), /refused/);
  checkTrigger("COPY . /app");
});

test("what Docker gets is written anew, one line per instruction, with each app's own mark after FROM", () => {
  const { text, steps } = plan("FROM a AS B\nRUN x \\\n  # no\n  && y\nFROM b\nCOPY  --chown=1:1 --from=B  /x  /y\n");
  assert.is(
    text,
    [
      "FROM docker.io/library/a:latest AS b",
      'LABEL flynn.cache="app-1-0"',
      "RUN x   && y",
      "FROM b",
      'LABEL flynn.cache="app-1-0"',
      "COPY --chown=1:1 --from=b /x  /y",
      "",
    ].join("\n"),
  );
  assert.equal(
    steps.map((step) => step === undefined),
    [false, true, false, false, true, false],
  );
});

test("no text makes the reader fail but by refusing it", () => {
  const piece = fc.constantFrom(
    "FROM ",
    "x",
    "$A",
    "${",
    "\\",
    "`",
    "\n",
    " ",
    '"',
    "'",
    "ADD ",
    "ARG ",
    "#",
    "escape=",
    "--from=",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      try {
        const { text } = plan(pieces.join(""));
        for (const line of text.split("\n"))
          if (/^FROM /.test(line)) assert.match(line, /^FROM [A-Za-z0-9._:/@-]+( AS [a-z0-9_.-]+)?$/);
      } catch (error) {
        if (!(error instanceof DockerfileError)) throw error;
      }
    }),
  );
});

test("a registry inside the cluster is closed to builds, by whatever name", () => {
  const target = {
    registry: "10.77.0.1:5000",
    clusterRange: "100.64.0.0/16",
    peers: [{ hostId: "h", subnet: "100.64.8.0/24", address: "10.77.0.12" }],
  };
  assert.match(refuseRegistry("10.77.0.1:5000", ["10.77.0.1"], target) ?? "", /own registry/);
  assert.match(refuseRegistry("10.77.0.1:80", ["10.77.0.1"], target) ?? "", /own registry/);
  for (const [domain, address] of [
    ["evil.example:5000", "10.77.0.1"],
    ["localhost:5000", "127.0.0.1"],
    ["10.77.0.12", "10.77.0.12"],
    ["x.example", "169.254.169.254"],
    ["x.example", "100.64.3.4"],
    ["x.example", "::1"],
  ] as const)
    assert.match(refuseRegistry(domain, [address], target) ?? "", /inside the cluster/, domain);
  assert.is(refuseRegistry("docker.io", ["93.184.216.34"], target), undefined);
  assert.is(refuseRegistry("10.77.0.50:5000", ["10.77.0.50"], target), undefined);
});

test("flynn/builder and flynn/runner are the cluster's own", () => {
  assert.is(stackImage(parseReference("flynn/runner")!), "runner");
  assert.is(stackImage(parseReference("docker.io/flynn/builder:x")!), "builder");
  assert.is(stackImage(parseReference("evil.example/flynn/runner")!), undefined);
});

test.run();
