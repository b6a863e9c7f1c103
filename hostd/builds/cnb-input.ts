// What a build with Cloud Native Buildpacks is given, as one archive for its volumes: the source, the variables as files, and the
// run image as the OCI layout that the lifecycle lays the app on.
import { createHash } from "node:crypto";
import { posix } from "node:path";
import type { Readable } from "node:stream";
import { extract, type Header } from "tar-stream";
import { type AddEntry, packEntries } from "./archive.ts";
import { type CnbUser, cnbCache, ORDER_FILE, RUN_LAYOUT } from "./cnb-plan.ts";
import type { Project } from "./cnb-project.ts";
import { cleanPath, entries } from "./context.ts";
import { BuildFailure } from "./failure.ts";
import type { InstallerFiles } from "./installers.ts";

export interface CnbInput {
  user: CnbUser;
  env: Readonly<Record<string, string>>;
  sourceFile: string;
  /** What of the source the build gets, and buildpacks in place of the builder's order. */
  project: Pick<Project, "keeps" | "order">;
  /** As `docker save` writes it. */
  runImage: Readable;
  authorities?: InstallerFiles;
}

/** In the platform's folder, which no layer of the image is made from. */
export const CNB_AUTHORITIES = "platform/flynn";
/** The same as buildpacks that know of certificates look for them (service bindings of type `ca-certificates`). */
const BINDING = "platform/bindings/flynn-build-ca";

/** Makes a folder with those it is in, once each: Docker would make them root's alone. */
type AddFolder = (path: string) => Promise<void>;

function foldersOf(add: AddEntry): AddFolder {
  const made = new Set<string>([".", "cache"]);
  const folder: AddFolder = async (path) => {
    if (made.has(path)) return;
    made.add(path);
    await folder(posix.dirname(path));
    await add({ name: path, type: "directory", mode: 0o755 });
  };
  return folder;
}

type Entry = AsyncIterable<Buffer> & { header: Header };

const SAVED = "layout/save";
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const TEXT_MAX_BYTES = 1 << 20;
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";

export function cnbInput({ user, env, sourceFile, project, runImage, authorities }: CnbInput): Readable {
  return packEntries(async (into) => {
    const add: AddEntry = (header, content) => into({ ...header, ...user, uname: "", gname: "" }, content);
    const folder = foldersOf(add);
    for (const name of ["layers", "workspace", "platform/env", "layout", cnbCache(user)]) await folder(name);
    for (const [name, value] of Object.entries(env))
      if (ENV_NAME.test(name)) await add({ name: `platform/env/${name}`, mode: 0o600 }, value);
    if (authorities !== undefined) {
      for (const name of [CNB_AUTHORITIES, BINDING]) await folder(name);
      await add({ name: `${CNB_AUTHORITIES}/own.pem`, mode: 0o644 }, authorities.own);
      await add({ name: `${CNB_AUTHORITIES}/bundle.pem`, mode: 0o644 }, authorities.bundle);
      await add({ name: `${BINDING}/type`, mode: 0o644 }, "ca-certificates");
      await add({ name: `${BINDING}/ca.pem`, mode: 0o644 }, authorities.own);
    }
    if (project.order !== undefined) await add({ name: ORDER_FILE, mode: 0o644 }, project.order);
    await addSource(add, folder, { sourceFile, keeps: project.keeps });
    await addLayout(add, folder, runImage);
  });
}

async function addSource(
  add: AddEntry,
  folder: AddFolder,
  { sourceFile, keeps }: { sourceFile: string; keeps: Project["keeps"] },
): Promise<void> {
  const left = new Set<string>();
  for await (const entry of entries(sourceFile)) {
    const { type, mode, mtime, size, linkname } = entry.header;
    const path = cleanPath(entry.header.name);
    const kept = { name: `workspace/${path}`, mode, mtime };
    if (path === "" || !keeps(path, type === "directory")) {
      left.add(path);
      await drain(entry);
      continue;
    }
    await folder(posix.dirname(kept.name));
    if (type === "file" || type === "contiguous-file") await add({ ...kept, size }, entry);
    else if (type === "directory") await add({ ...kept, type });
    else if (type === "symlink") await add({ ...kept, type, linkname });
    else if (type === "link") {
      const target = cleanPath(linkname ?? "");
      if (left.has(target))
        throw new BuildFailure(
          `project.toml leaves ${target} out, and ${path} is the same file: leave out both or none`,
        );
      await add({ ...kept, type, linkname: `workspace/${target}` });
    } else await drain(entry);
  }
}

/**
 * `docker save` names a layer before its digest is known, and says last what belongs together: everything is laid down as it comes,
 * and given its place in the layout by a second name.
 */
async function addLayout(add: AddEntry, folder: AddFolder, saved: Readable): Promise<void> {
  const files = new Map<string, { digest: string; size: number; text?: string }>();
  const links = new Map<string, string>();
  const reader = extract();
  saved.on("error", (error) => reader.destroy(error));
  saved.pipe(reader as unknown as NodeJS.WritableStream);
  try {
    for await (const entry of reader as unknown as AsyncIterable<Entry>) {
      const { type, size, linkname } = entry.header;
      const name = cleanPath(entry.header.name);
      if (type === "symlink") links.set(name, cleanPath(posix.join(posix.dirname(name), linkname ?? "")));
      if (type !== "file" && type !== "contiguous-file") {
        await drain(entry);
        continue;
      }
      const hash = createHash("sha256");
      const small: Buffer[] = [];
      const read = async function* () {
        for await (const chunk of entry) {
          hash.update(chunk);
          if (size <= TEXT_MAX_BYTES) small.push(chunk);
          yield chunk;
        }
      };
      await add({ name: `${SAVED}/${name}`, mode: 0o644, size }, read());
      const text = size <= TEXT_MAX_BYTES ? Buffer.concat(small).toString("utf8") : undefined;
      files.set(name, { digest: hash.digest("hex"), size, text });
    }
  } finally {
    saved.destroy();
    reader.destroy();
  }
  const fileOf = (name: string) => {
    const path = links.get(cleanPath(name)) ?? cleanPath(name);
    const found = files.get(path);
    if (found === undefined) throw new Error(`the run image's archive has no ${name}`);
    return { ...found, path };
  };
  const [listed] = JSON.parse(fileOf("manifest.json").text ?? "[]") as { Config: string; Layers: string[] }[];
  if (listed === undefined) throw new Error("the run image's archive names no image");
  const config = fileOf(listed.Config);
  const { rootfs } = JSON.parse(config.text ?? "{}") as { rootfs?: { diff_ids?: string[] } };
  const layers = listed.Layers.map(fileOf);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: `sha256:${config.digest}`, size: config.size },
    layers: layers.map(({ digest, size }, index) => ({
      mediaType: rootfs?.diff_ids?.[index] === `sha256:${digest}` ? OCI_LAYER : `${OCI_LAYER}+gzip`,
      digest: `sha256:${digest}`,
      size,
    })),
  });
  const digest = createHash("sha256").update(manifest).digest("hex");
  const described = { mediaType: OCI_MANIFEST, digest: `sha256:${digest}`, size: Buffer.byteLength(manifest) };
  await folder(`${RUN_LAYOUT}/blobs/sha256`);
  const blob = (name: string) => `${RUN_LAYOUT}/blobs/sha256/${name}`;
  for (const [name, path] of new Map([config, ...layers].map((file) => [file.digest, file.path])))
    await add({ name: blob(name), type: "link", linkname: `${SAVED}/${path}` });
  const write = (name: string, text: string) => add({ name, mode: 0o644 }, text);
  await write(blob(digest), manifest);
  await write(`${RUN_LAYOUT}/index.json`, JSON.stringify({ schemaVersion: 2, manifests: [described] }));
  await write(`${RUN_LAYOUT}/oci-layout`, OCI_LAYOUT);
}

export const OCI_LAYOUT = '{"imageLayoutVersion":"1.0.0"}';

async function drain(entry: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of entry);
}
