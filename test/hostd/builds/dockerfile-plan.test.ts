// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of Dockerfiles
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { refuseRegistry, stackImage } from "../../../hostd/builds/base-images.ts";
import { checkTrigger, planDockerfile } from "../../../hostd/builds/dockerfile-plan.ts";
import { DockerfileError } from "../../../hostd/builds/dockerfile-syntax.ts";
import { refuseAddress } from "../../../hostd/builds/fetch-policy.ts";
import { formatReference, localName, parseReference } from "../../../hostd/builds/image-reference.ts";

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
  assert.equal(images('ARG MSG="hello world"\nARG V=1\nFROM alpine:$V\n'), ["docker.io/library/alpine:1"]);
  assert.equal(images("ARG MSG='a b' V=3\nARG W=$" + "{V#x}\nFROM alpine:$V\n"), ["docker.io/library/alpine:3"]);
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

test("what is refused is refused with its line and why, in words that end", () => {
  const x = (count: number) => "x".repeat(count);
  const needs = "needs BuildKit, which this cluster has not";
  const from = "FROM is followed by an image, and perhaps AS and a name";
  const ROWS: [text: string, words: string][] = [
    ["FROM\n", `line 1: ${from}`],
    ["FROM a b c d\n", `line 1: ${from}`],
    ["FROM a AS b c\n", `line 1: ${from}`],
    ["FROM a AS\n", `line 1: ${from}`],
    ["FROM a of b\n", `line 1: ${from}`],
    ["FROM a b\n", `line 1: ${from}`],
    ["FROM a AS 1b\n", "line 1: 1b is no name for a stage"],
    ["FROM A:B:C\n", 'line 1: "A:B:C" is no image name'],
    ["\nFROM x\nCOPY --from=A//b / /\n", 'line 3: "A//b" is no image name'],
    [`FROM --platform=${x(50)} x\n`, `line 1: this host builds for linux/amd64 only, not ${x(40)}`],
    [`FROM \${${x(300)}\n`, `line 1: the image that FROM names cannot be told: \${${x(198)}`],
    ['FROM ""\n', 'line 1: the image that FROM names cannot be told: ""'],
    [`ARG 1${x(100)}\n`, `line 1: ARG with 1${x(79)} cannot be read`],
    ["ARG A=${A#x}\nARG B=$A\nFROM x:$B\n", "line 3: the value of B cannot be told"],
    ["WORKDIR /x\nFROM x\n", "line 1: WORKDIR comes before the first FROM"],
    [`FROM x\nCOPY --${x(80)} a b\n`, `line 2: COPY --${x(58)} ${needs}`],
    [`FROM x\nCOPY --from=$${x(80)} a b\n`, `line 2: --from=$${x(52)} cannot be read; write it out`],
    ['FROM x\nCOPY --chown="a" a b\n', 'line 2: --chown="a" cannot be read; write it out'],
    ["FROM x\nADD --from=y a b\n", `line 2: ADD --from=y ${needs}`],
    ["FROM x\nCOPY --chown= a b\n", `line 2: COPY --chown= ${needs}`],
    ["FROM x\nRUN <<EOF\n", `line 2: RUN << ${needs}`],
    ["FROM x\nADD <<EOF /x\n", `line 2: ADD << ${needs}`],
    ["FROM x\nCOPY a <<-'EOF' /x\n", `line 2: COPY << ${needs}`],
    ["FROM x\nONBUILD\n", "line 2: ONBUILD of nothing"],
    ["FROM x\n\nONBUILD FROM y\n", "line 3: ONBUILD FROM"],
    ["FROM x\nONBUILD ONBUILD RUN y\n", "line 2: ONBUILD ONBUILD"],
    ["FROM x\nONBUILD MAINTAINER y\n", "line 2: ONBUILD MAINTAINER"],
    [`FROM x\nONBUILD COPY --from=${x(80)} a b\n`, `line 2: ONBUILD COPY --from=${x(53)} is refused here`],
    ["FROM x\nONBUILD ADD $A /x\n", "line 2: ADD with variables or quotes is refused: use COPY"],
  ];
  for (const [text, words] of ROWS) assert.is(refusal(text), words, JSON.stringify(text));
});

test("what Docker and people do every day is let through", () => {
  for (const text of [
    "FROM x AS a\n",
    "FROM x as A-b.c_1\n",
    "FROM --platform=linux/amd64 x\n",
    "FROM --platform=$BUILDPLATFORM x\n",
    "FROM --platform=${TARGETPLATFORM} x\n",
    "ARG A B=1 C=$B\nFROM x:$C\n",
    "FROM x\nADD a.tgz $HOME/\n",
    'FROM x\nADD ["a", "/b"]\n',
    "FROM x\nADD --chown=1:1 a b http/\n",
    "FROM x\nRUN cat <<EOF > y\n",
    "FROM x\nRUN a && b << 1\n",
    "FROM x\nCOPY a<<b /x\n",
    "FROM x\nHEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=2 CMD y\n",
    "FROM x\nONBUILD COPY --chown=1 . /app\nONBUILD RUN y\n",
  ])
    assert.is(refusal(text), "", text);
  checkTrigger("RUN a\nCOPY --chown=1 . /app");
  assert.throws(() => checkTrigger("RUN a\nFROM x"), /^line 2: ONBUILD FROM$/);
});

test("a stage before is a stage by number or name, and any other name is an image", () => {
  const froms = (text: string) =>
    plan(text)
      .text.split("\n")
      .filter((line) => line.startsWith("COPY"));
  const [a, b] = ["a", "1"].map((name) => localName(parseReference(name)!));
  assert.equal(froms("FROM scratch AS one\nFROM scratch\nCOPY --from=0 x y\nCOPY --from=ONE x y\n"), [
    "COPY --from=0 x y",
    "COPY --from=one x y",
  ]);
  assert.equal(froms("FROM scratch AS one\nFROM scratch\nCOPY --from=1 x y\nCOPY --from=a --chown=2 x y\n"), [
    `COPY --from=${b} x y`,
    `COPY --from=${a} --chown=2 x y`,
  ]);
});

test("what Docker gets is written anew, one line per instruction, with each app's own mark after FROM", () => {
  const { text, steps } = plan("FROM a AS B\nRUN x \\\n  # no\n  && y\nFROM b\nCOPY  --chown=1:1 --from=B  /x  /y\n");
  assert.is(
    text,
    [
      `FROM ${localName(parseReference("a")!)} AS b`,
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

const CLUSTER = {
  registry: "10.77.0.1:5000",
  clusterRange: "100.64.0.0/16",
  peers: [{ hostId: "h", subnet: "100.64.8.0/24", address: "11.0.0.12" }],
  clusterAddresses: ["11.0.0.13"],
};
const reach = (egress: "all" | "internet" | "none") => ({
  ...{ version: 1, appNetwork: "app" as const, egress, closed: ["10.99.0.0/16"], open: [], routers: [], apps: [] },
});

test("the cluster's registry is closed to builds by its name, also where an image of it is at hand", () => {
  assert.match(refuseRegistry("10.77.0.1:5000", CLUSTER) ?? "", /own registry/);
  assert.match(refuseRegistry("10.77.0.1:80", CLUSTER) ?? "", /own registry/);
  assert.match(refuseRegistry("localhost:5000", CLUSTER) ?? "", /inside the cluster/);
  assert.match(refuseRegistry("base.invalid", CLUSTER) ?? "", /stands for nothing/);
  assert.is(refuseRegistry("docker.io", CLUSTER), undefined);
});

const ADDRESSES: [address: string, all: RegExp | undefined, internet: RegExp | undefined][] = [
  ["93.184.216.34", undefined, undefined],
  ["10.77.0.1", /inside the cluster/, /inside the cluster/],
  ["11.0.0.12", /inside the cluster/, /inside the cluster/],
  ["11.0.0.13", /inside the cluster/, /inside the cluster/],
  ["100.64.3.4", /inside the cluster/, /inside the cluster/],
  ["10.99.1.1", /inside the cluster/, /inside the cluster/],
  ["127.0.0.1", /reserved/, /reserved/],
  ["::ffff:127.0.0.1", /reserved/, /reserved/],
  ["169.254.169.254", /reserved/, /reserved/],
  ["168.63.129.16", /reserved/, /reserved/],
  ["::1", /no IPv4/, /no IPv4/],
  ["192.168.1.5", undefined, /flynn up --app-egress all/],
  ["10.1.2.3", undefined, /is private/],
];
for (const [address, all, internet] of ADDRESSES)
  test(`base images from ${address}: as the cluster's egress policy says`, () => {
    const check = (egress: "all" | "internet" | "none", wanted: RegExp | undefined) => {
      const refusal = refuseAddress(address, { ...CLUSTER, reach: reach(egress) });
      if (wanted === undefined) assert.is(refusal, undefined);
      else assert.match(refusal ?? "", wanted);
    };
    check("all", all);
    check("internet", internet);
    check("none", /./);
  });

test("flynn/builder and flynn/runner are the cluster's own", () => {
  assert.is(stackImage(parseReference("flynn/runner")!), "runner");
  assert.is(stackImage(parseReference("docker.io/flynn/builder:x")!), "builder");
  assert.is(stackImage(parseReference("evil.example/flynn/runner")!), undefined);
});

test.run();
