// The phases of Cloud Native Buildpacks as a plan, and what goes into them and comes out.
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { extract, type Header, pack } from "tar-stream";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cnbInput } from "../../../hostd/builds/cnb-input.ts";
import { buildMetadata, layoutArchive, ociManifest, readImage } from "../../../hostd/builds/cnb-output.ts";
import {
  builderUser,
  cnbPhases,
  exitReason,
  namedRunImage,
  platformApi,
  RUN_LAYOUT,
} from "../../../hostd/builds/cnb-plan.ts";
import { projectOf } from "../../../hostd/builds/cnb-project.ts";

const USER = { uid: 1001, gid: 1002 };

test("buildpacks run in two phases, which see neither images nor the cache; the others reach no network", () => {
  const phases = cnbPhases(USER, { order: false });
  assert.equal(
    phases.map(({ name }) => name),
    ["analyzer", "detector", "restorer", "builder", "exporter"],
  );
  for (const { name, network, volumes, command } of phases) {
    assert.is(network, name === "detector" || name === "builder", name);
    assert.is(network && volumes.some((of) => of === "layout" || of === "cache"), false, name);
    assert.is(command[0], `/cnb/lifecycle/${name}`);
    assert.ok(volumes.includes("layers"), name);
    assert.is(command.includes("-layout"), ["analyzer", "restorer", "exporter"].includes(name), name);
    assert.is(command.includes("-order"), false, name);
  }
  const ordered = cnbPhases(USER, { order: true }).filter(({ command }) => command.includes("/layers/order.toml"));
  assert.equal(
    ordered.map(({ name }) => name),
    ["detector"],
  );
});

/** As labels of builders have it; the first two as pack 0.3x writes it for lifecycle 0.20 and 0.17. */
const labelled = (platform: unknown, version = "0.20.11") => ({
  labels: { "io.buildpacks.builder.metadata": JSON.stringify({ lifecycle: { version, apis: { platform } } }) },
});
const upTo = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => `0.${from + n}`);

test("the platform API is one that both sides speak, a deprecated one only where there is no other, and said so", () => {
  assert.equal(platformApi(labelled({ deprecated: [], supported: upTo(7, 14) })), { version: "0.12" });
  assert.equal(platformApi(labelled({ deprecated: upTo(3, 6), supported: upTo(3, 12) }, "0.17.7")), {
    version: "0.12",
  });
  assert.equal(platformApi(labelled({ deprecated: ["0.12"], supported: upTo(12, 15) })), { version: "0.13" });
  assert.equal(platformApi(labelled({ supported: ["0.14", "0.15", "0.16"] })), { version: "0.14" });
  assert.equal(platformApi(labelled({ deprecated: ["0.15"], supported: ["0.15", "1.0"] })), {
    version: "0.15",
    warning: "the builder's lifecycle 0.20.11 will soon not speak platform API 0.15",
  });
  assert.equal(platformApi({ labels: { "io.buildpacks.lifecycle.apis": '{"platform":{"supported":["0.13"]}}' } }), {
    version: "0.13",
  });
  for (const silent of [{}, { "io.buildpacks.builder.metadata": "{" }, { "io.buildpacks.builder.metadata": "null" }])
    assert.equal(platformApi({ labels: silent as Record<string, string> }), { version: "0.12" });
});

test("a lifecycle that speaks none of the platform APIs here is refused before anything runs", () => {
  assert.throws(
    () => platformApi(labelled({ deprecated: [], supported: upTo(3, 11) }, "0.16.5")),
    /lifecycle 0\.16\.5 speaks platform API 0\.3, .*0\.11, and here 0\.12, .* it needs lifecycle 0\.17 or newer/,
  );
  const old = { lifecycle: { version: "0.7.0", api: { buildpack: "0.2", platform: "0.3" } } };
  assert.throws(
    () => platformApi({ labels: { "io.buildpacks.builder.metadata": JSON.stringify(old) } }),
    /lifecycle 0\.7\.0 speaks platform API 0\.3,/,
  );
});

test("builders of others: users and groups of any id but root's, run images by the older and the newer key", () => {
  assert.equal(builderUser({ env: { CNB_USER_ID: "1001", CNB_GROUP_ID: "1000", CNB_STACK_ID: "x" } }), {
    uid: 1001,
    gid: 1000,
  });
  const paketo = {
    stack: { runImage: { image: "index.docker.io/paketobuildpacks/run-jammy-base:latest", mirrors: null } },
  };
  const heroku = { ...paketo, images: [{ image: "heroku/heroku:24", mirrors: null }] };
  const named = (about: unknown) =>
    namedRunImage({ labels: { "io.buildpacks.builder.metadata": JSON.stringify(about) } });
  assert.is(named(paketo), "index.docker.io/paketobuildpacks/run-jammy-base:latest");
  assert.is(named(heroku), "heroku/heroku:24");
});

const BUILDER = {
  labels: {
    "io.buildpacks.buildpack.layers": JSON.stringify({
      "heroku/procfile": { "3.1.2": { api: "0.10" } },
      "heroku/nodejs": { "3.4.0": {}, "3.5.0": {} },
      "a/pre": { "1.0.0": {} },
    }),
    "io.buildpacks.buildpack.order": JSON.stringify([
      {
        group: [
          { id: "heroku/nodejs", version: "3.5.0" },
          { id: "heroku/procfile", version: "3.1.2", optional: true },
        ],
      },
      { group: [{ id: "heroku/procfile", version: "3.1.2" }] },
    ]),
  },
};
const V2 = '[_]\nschema-version = "0.2"\n';

test("project.toml's buildpacks take the place of the builder's order, each in the version that the builder has", () => {
  const of = (text: string) => projectOf(V2 + text, BUILDER);
  assert.equal(of("").order, undefined);
  const group = of(
    '[[io.buildpacks.group]]\nid = "heroku/nodejs"\nversion = "3.4.0"\n[[io.buildpacks.group]]\nid = "heroku/procfile"',
  );
  assert.is(
    group.order,
    '[[order]]\n[[order.group]]\nid = "heroku/nodejs"\nversion = "3.4.0"\n[[order.group]]\nid = "heroku/procfile"\nversion = "3.1.2"\n',
  );
  assert.equal(group.words, ["project.toml: buildpacks heroku/nodejs@3.4.0, heroku/procfile@3.1.2"]);
  const around = of('[[io.buildpacks.pre.group]]\nid = "a/pre"');
  assert.is(
    around.order,
    '[[order]]\n[[order.group]]\nid = "a/pre"\nversion = "1.0.0"\n[[order.group]]\nid = "heroku/nodejs"\nversion = "3.5.0"\n' +
      '[[order.group]]\nid = "heroku/procfile"\nversion = "3.1.2"\noptional = true\n' +
      '[[order]]\n[[order.group]]\nid = "a/pre"\nversion = "1.0.0"\n[[order.group]]\nid = "heroku/procfile"\nversion = "3.1.2"\n',
  );
});

test("project.toml's buildpacks before, instead of and after the builder's own go in that order, in whatever number", () => {
  const part = (at: string, id: string) => `[[io.buildpacks.${at}group]]\nid = "${id}"\n`;
  const ids = (text: string) => projectOf(V2 + text, BUILDER).order?.match(/(?<=id = ")[^"]+|\[\[order\]\]/g);
  const [pre, own, post] = [part("pre.", "a/pre"), part("", "heroku/procfile"), part("post.", "a/pre")];
  const all = ["a/pre", "heroku/procfile", "a/pre"];
  assert.equal(ids(pre + own), ["[[order]]", ...all.slice(0, 2)]);
  assert.equal(ids(own + post), ["[[order]]", ...all.slice(1)]);
  assert.equal(ids(pre + own + post), ["[[order]]", ...all]);
  assert.equal(ids(pre + post)?.slice(-4), ["[[order]]", ...all]);
});

test("a buildpack that the builder has not, or has not so, is refused in words", () => {
  const group = (fields: string, builder: { labels: Record<string, string> } = BUILDER) =>
    projectOf(`${V2}[[io.buildpacks.group]]\n${fields}`, builder);
  assert.throws(
    () => group('id = "x/y"'),
    /the builder has no buildpack x\/y; it has a\/pre, heroku\/nodejs, heroku\/procfile/,
  );
  assert.throws(() => group('id = "a/pre"\nversion = "2"'), /has a\/pre in version 1\.0\.0, not 2/);
  assert.throws(() => group('id = "heroku/nodejs"'), /several versions of heroku\/nodejs, name one: 3\.4\.0, 3\.5\.0/);
  assert.throws(() => group('id = "a/pre"', { labels: {} }), /needs its version, since the builder does not list/);
  assert.match(group('id = "a/pre"\nversion = "2"', { labels: {} }).order!, 'version = "2"');
  assert.throws(
    () => projectOf(`${V2}[[io.buildpacks.post.group]]\nid = "a/pre"\nversion = "1"`, { labels: {} }),
    /does not say its order/,
  );
  assert.throws(() => projectOf("a = ", BUILDER), /project\.toml: line 1/);
});

test("a builder that lists its buildpacks in its metadata only has those, and one that lists none has what is named with a version", () => {
  const group = (fields: string, labels: Record<string, string>) =>
    projectOf(`${V2}[[io.buildpacks.group]]\n${fields}`, { labels }).words;
  const metadata = (buildpacks: unknown) => ({ "io.buildpacks.builder.metadata": JSON.stringify({ buildpacks }) });
  const listed = metadata([
    { id: "a/b", version: "1" },
    { id: 7, version: "1" },
    { id: "c/d", version: 2 },
    { id: "e/f", version: "3" },
  ]);
  assert.equal(group('id = "a/b"', listed), ["project.toml: buildpacks a/b@1"]);
  assert.throws(
    () => group('id = "c/d"', listed),
    /^project\.toml: the builder has no buildpack c\/d; it has a\/b, e\/f$/,
  );
  assert.equal(group('id = "x/y"\nversion = "9"', {}), ["project.toml: buildpacks x/y@9"]);
  assert.throws(() => group('id = "x/y"', {}), /^project\.toml: buildpack x\/y needs its version/);
  const twice = metadata([
    { id: "a/b", version: "1" },
    { id: "a/b", version: "2" },
  ]);
  assert.throws(() => group('id = "a/b"', twice), /several versions of a\/b, name one: 1, 2$/);
  assert.throws(() => group('id = "a/b"\nversion = "3"', twice), /has a\/b in version 1, 2, not 3$/);
  assert.equal(group('id = "a/b"\nversion = "2"', twice), ["project.toml: buildpacks a/b@2"]);
});

test("buildpacks around the builder's own need an order that is none of nothing", () => {
  const around = (order: unknown) =>
    projectOf(`${V2}[[io.buildpacks.post.group]]\nid = "a/pre"`, {
      labels: { ...BUILDER.labels, "io.buildpacks.buildpack.order": JSON.stringify(order) },
    }).words;
  const own = [{ group: [] }, { group: [{ id: "heroku/procfile", version: "" }] }, {}];
  assert.equal(around(own), ["project.toml: buildpacks heroku/procfile@3.1.2, a/pre@1.0.0"]);
  for (const none of [[], [{ group: [] }], {}, null])
    assert.throws(() => around(none), /the builder does not say its order$/, JSON.stringify(none));
});

test("what project.toml says is told in lines that end, and what it is not is told as such", () => {
  const many = Array.from({ length: 100 }, (_, n) => `"some-folder-${n}"`).join(", ");
  const [line] = projectOf(`${V2}[io.buildpacks]\nexclude = [${many}]`, BUILDER).words;
  assert.equal(
    [line!.length, line!.startsWith("project.toml: files without some-folder-0 some-folder-1 ")],
    [500, true],
  );
  const layers = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`vendor/buildpack-${n}`, { "1": {} }]));
  const labels = { "io.buildpacks.buildpack.layers": JSON.stringify(layers) };
  const refused = (text: string) => {
    try {
      projectOf(text, { labels });
    } catch (error) {
      return (error as Error).message;
    }
    return undefined;
  };
  assert.is(refused(`${V2}[[io.buildpacks.group]]\nid = "x/y"`)!.length, 1_000);
  assert.match(refused("[[[")!, /project\.toml/);
});

test("project.toml's files: without those excluded, or only those included; values of variables are not said", () => {
  const of = (text: string) => projectOf(`${V2}[io.buildpacks]\n${text}`, BUILDER);
  const without = of(
    'exclude = ["spec/", "*.md", "!README.md"]\n[[io.buildpacks.build.env]]\nname = "A"\nvalue = "hunter2"',
  );
  const kept = (keeps: (path: string, isFolder: boolean) => boolean, ...paths: string[]) =>
    paths.filter((path) => keeps(path, false));
  assert.equal(kept(without.keeps, "a.md", "README.md", "spec/a", "lib/spec/a", "spec.rb"), ["README.md", "spec.rb"]);
  assert.equal(without.words, ["project.toml: files without spec/ *.md !README.md", "project.toml: variables A"]);
  assert.equal(without.env, { A: "hunter2" });
  const only = of('include = ["cmd/", "*.go"]');
  assert.equal(kept(only.keeps, "cmd/x", "a.go", "b/c.go", "README.md", "cmd"), ["cmd/x", "a.go", "b/c.go"]);
  assert.equal(kept(projectOf(undefined, BUILDER).keeps, "a"), ["a"]);
});

test("a builder says whom it builds as; root is refused, and so is an image that does not say", () => {
  const env = { CNB_USER_ID: "1001", CNB_GROUP_ID: "1002" };
  assert.equal(builderUser({ env }), USER);
  assert.throws(() => builderUser({ env: { ...env, CNB_USER_ID: "0" } }), /root, which no build may/);
  const most = { CNB_USER_ID: "2147483647", CNB_GROUP_ID: "2147483647" };
  assert.equal(builderUser({ env: most }), { uid: 2_147_483_647, gid: 2_147_483_647 });
  // Docker starts no container with a larger one.
  for (const bad of [undefined, "", "-1", "1e3", "app", "2147483648", "99999999999"])
    assert.throws(() => builderUser({ env: { ...env, CNB_GROUP_ID: bad as string } }), /does not say CNB_GROUP_ID/);
});

test("the run image that a builder was made for is read from its label, where that is sound", () => {
  const named = (about: unknown) =>
    namedRunImage({
      labels: { "io.buildpacks.builder.metadata": typeof about === "string" ? about : JSON.stringify(about) },
    });
  assert.is(named({ images: [{ image: "a/run" }], stack: { runImage: { image: "b/run" } } }), "a/run");
  assert.is(named({ stack: { runImage: { image: "b/run" } } }), "b/run");
  for (const about of ["{", "null", {}, { images: [{ image: "a\nb" }] }, { images: 3 }])
    assert.is(named(about), undefined);
});

test("exit codes are words", () => {
  assert.is(exitReason("detector", 20), "no buildpack of the builder fits this source");
  assert.is(exitReason("builder", 51), "a buildpack failed");
  assert.match(exitReason("analyzer", 11), /lifecycle 0\.17 or newer/);
  assert.is(exitReason("exporter", 62), "the exporter of the builder's lifecycle ended with code 62");
});

interface Seen {
  header: Header;
  content: Buffer;
}

async function seen(archive: Readable): Promise<Map<string, Seen>> {
  const entries = new Map<string, Seen>();
  const reader = extract();
  archive.on("error", (error) => reader.destroy(error));
  archive.pipe(reader as unknown as NodeJS.WritableStream);
  for await (const entry of reader as unknown as AsyncIterable<AsyncIterable<Buffer> & { header: Header }>)
    entries.set(entry.header.name.replace(/\/$/, ""), { header: entry.header, content: await buffer(entry) });
  return entries;
}

const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");

test("the run image becomes an OCI layout as it streams by, a layer twice named is there once, and all belongs to the builder's user", async () => {
  const folder = await mkdtemp(join(tmpdir(), "flynn-cnb-"));
  try {
    const source = pack();
    source.entry({ name: "bin/run", mode: 0o755 }, "#!/bin/sh\n");
    source.entry({ name: "link", type: "symlink", linkname: "bin/run" });
    source.entry({ name: "spec/", type: "directory" });
    source.entry({ name: "spec/a_test.go" }, "x");
    source.finalize();
    const sourceFile = join(folder, "source.tar");
    await writeFile(sourceFile, await buffer(source as unknown as Readable));
    const [one, two] = ["layer one", "layer two"];
    const config = JSON.stringify({ rootfs: { diff_ids: [one, two, one].map((layer) => `sha256:${sha256(layer)}`) } });
    // As Docker 20.10 writes it: a layer that is there already is a link to it, and what belongs together comes last.
    const saved = pack();
    saved.entry({ name: "a/", type: "directory" });
    saved.entry({ name: "a/layer.tar" }, one);
    saved.entry({ name: "b/layer.tar" }, two);
    saved.entry({ name: "c/layer.tar", type: "symlink", linkname: "../a/layer.tar" });
    saved.entry({ name: "conf.json" }, config);
    const layers = ["a/layer.tar", "b/layer.tar", "c/layer.tar"];
    saved.entry({ name: "manifest.json" }, JSON.stringify([{ Config: "conf.json", RepoTags: null, Layers: layers }]));
    saved.finalize();
    const entries = await seen(
      cnbInput({
        user: USER,
        env: { GREETING: "a\nb", "NOT A NAME": "x" },
        sourceFile,
        project: { keeps: (path) => !path.startsWith("spec"), order: "[[order]]\n" },
        runImage: Readable.from(saved as AsyncIterable<Buffer>),
      }),
    );
    for (const [name, { header }] of entries) {
      assert.equal([header.uid, header.gid], [USER.uid, USER.gid], name);
      const parent = name.split("/").slice(0, -1).join("/");
      assert.ok(parent === "" || parent === "cache" || entries.has(parent) || name.startsWith("layout/save/"), name);
    }
    assert.is(entries.get("workspace/bin/run")?.header.mode, 0o755);
    assert.is(entries.get("workspace/link")?.header.linkname, "bin/run");
    assert.equal([...entries.keys()].filter((name) => name.startsWith("workspace/")).sort(), [
      "workspace/bin",
      "workspace/bin/run",
      "workspace/link",
    ]);
    assert.is(String(entries.get("layers/order.toml")?.content), "[[order]]\n");
    assert.equal(
      [...entries.keys()].filter((name) => name.startsWith("platform/env/")),
      ["platform/env/GREETING"],
    );
    const index = JSON.parse(String(entries.get(`${RUN_LAYOUT}/index.json`)?.content));
    const manifest = entries.get(`${RUN_LAYOUT}/blobs/${index.manifests[0].digest.replace(":", "/")}`)!.content;
    assert.is(`sha256:${sha256(manifest)}`, index.manifests[0].digest);
    const { config: described, layers: listed } = JSON.parse(String(manifest));
    assert.is(described.digest, `sha256:${sha256(config)}`);
    assert.equal(
      listed.map(({ digest, size, mediaType }: Record<string, unknown>) => [digest, size, mediaType]),
      [one, two, one].map((layer) => [
        `sha256:${sha256(layer)}`,
        layer.length,
        "application/vnd.oci.image.layer.v1.tar",
      ]),
    );
    for (const { digest } of [described, ...listed]) {
      const link = entries.get(`${RUN_LAYOUT}/blobs/${digest.replace(":", "/")}`)!.header;
      assert.is(link.type, "link");
      assert.is(`sha256:${sha256(entries.get(link.linkname!)!.content)}`, digest);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a file with two names is in the build by both or by none", async () => {
  const folder = await mkdtemp(join(tmpdir(), "flynn-cnb-"));
  try {
    const source = pack();
    source.entry({ name: "spec/data" }, "x");
    source.entry({ name: "data", type: "link", linkname: "spec/data" });
    source.finalize();
    const sourceFile = join(folder, "source.tar");
    await writeFile(sourceFile, await buffer(source as unknown as Readable));
    const given = (keeps: (path: string) => boolean) =>
      text(cnbInput({ user: USER, env: {}, sourceFile, project: { keeps }, runImage: Readable.from([]) })).then(
        () => "",
        (error: Error) => error.message,
      );
    const why = "project.toml leaves spec/data out, and data is the same file: leave out both or none";
    assert.is(await given((path) => path === "data"), why);
    for (const keeps of [() => true, () => false, (path: string) => path !== "data"])
      assert.match(await given(keeps), "the run image's archive has no manifest.json");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

function layout(entries: Record<string, string>, more: (archive: ReturnType<typeof pack>) => void = () => undefined) {
  const archive = pack();
  archive.entry({ name: "latest/", type: "directory" });
  for (const [name, content] of Object.entries(entries)) archive.entry({ name: `latest/${name}` }, content);
  more(archive);
  archive.finalize();
  return Readable.from(archive as AsyncIterable<Buffer>);
}

test("an image is sent as a layout that says so first, with the manifest given; what has no place in one ends the build", async () => {
  const blob = `blobs/sha256/${sha256("x")}`;
  const sent = layoutArchive(layout({ [blob]: "x", "index.json": "{}", "oci-layout": "{}" }), "manifest");
  const entries = await seen(sent);
  assert.equal([...entries.keys()], ["oci-layout", "index.json", `blobs/sha256/${sha256("manifest")}`, blob]);
  assert.match(String(entries.get("index.json")?.content), `"digest":"sha256:${sha256("manifest")}","size":8`);
  const fails = (folder: Readable) =>
    text(layoutArchive(folder, "manifest")).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /left no sound image: .* has no place in it/),
    );
  for (const bad of ["../../etc/passwd", "blobs/sha256/short", "x"]) await fails(layout({ [bad]: "x" }));
  await fails(layout({}, (archive) => archive.entry({ name: `latest/${blob}`, type: "symlink", linkname: "/x" })));
});

test("a manifest that mixes Docker's words into OCI's comes out in OCI's; one that names what is no layer is refused", () => {
  const at = { digest: `sha256:${sha256("x")}`, size: 1 };
  const oci = "application/vnd.oci.image.layer.v1.tar";
  const docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
  const config = { ...at, mediaType: "application/vnd.docker.container.image.v1+json" };
  const made = ociManifest({
    config,
    layers: [
      { ...at, mediaType: oci },
      { ...at, mediaType: docker, urls: ["x"] },
    ],
  });
  assert.equal(JSON.parse(made), {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { ...at, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: [
      { ...at, mediaType: oci },
      { ...at, mediaType: `${oci}+gzip` },
    ],
  });
  for (const layer of [null, {}, { ...at, mediaType: "text/html" }, { ...at, digest: "sha256:../x", mediaType: oci }])
    assert.throws(() => ociManifest({ config, layers: [layer] }), /names what is no layer/);
  for (const bad of [null, [], { config }, { layers: [] }]) assert.throws(() => ociManifest(bad), /no sound image/);
});

test("buildpacks and process types are read from the image's label, through digests alone", async () => {
  const label = JSON.stringify({
    buildpacks: [{ id: "a/node", version: "1.0" }, { id: "bad\nname" }],
    processes: [
      { type: "web", command: ["node"], args: ["server.js"] },
      { type: "old", command: "run me", direct: false },
      { type: "Bad Name", command: "x" },
      { type: "constructor", command: "x" },
    ],
  });
  const config = JSON.stringify({ config: { Labels: { "io.buildpacks.build.metadata": label } } });
  const manifest = JSON.stringify({ config: { digest: `sha256:${sha256(config)}`, size: config.length }, layers: [] });
  const files: Record<string, string> = {
    "index.json": JSON.stringify({ manifests: [{ digest: `sha256:${sha256(manifest)}` }] }),
    [`blobs/sha256/${sha256(manifest)}`]: manifest,
    [`blobs/sha256/${sha256(config)}`]: config,
  };
  const read = (found: Record<string, string>) =>
    readImage(async (path) => {
      const archive = pack();
      const content = found[path];
      if (content === undefined) throw new Error(`${path} was asked for`);
      archive.entry({ name: path }, content);
      archive.finalize();
      return Readable.from(archive as AsyncIterable<Buffer>);
    });
  const { manifest: _, ...about } = await read(files);
  assert.equal(about, {
    buildpacks: ["a/node@1.0"],
    processes: { web: "node server.js", old: "run me" },
    leftOut: ["Bad?Name", "constructor"],
  });
  const away = JSON.stringify({ manifests: [{ digest: "sha256:../../../etc/passwd" }] });
  await read({ "index.json": away }).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /no sound image: it has no manifest/),
  );
  for (const none of [undefined, 3, "{", "[]", "null", '{"processes":"x","buildpacks":[1,null]}'])
    assert.equal(buildMetadata(none), { buildpacks: [], processes: {}, leftOut: [] });
});

test.run();
