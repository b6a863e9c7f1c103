// Container images made without Docker, as `docker save` writes them: one layer with a static busybox and the app's files.
// The same inputs give the same bytes.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { access, mkdtemp, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { type TarEntry, tar } from "./tar.ts";

export interface ImageOptions {
  /** `name:tag`. */
  reference: string;
  command: string[];
  files?: TarEntry[];
  /** `bin/busybox` with what it needs; this machine's, static, without. */
  busybox?: TarEntry[];
  env?: Record<string, string>;
  /** As Docker says it; another than amd64 makes an image this machine cannot run. */
  architecture?: string;
  labels?: Record<string, string>;
}

export interface ImageArchive {
  path: string;
  reference: string;
  /** `sha256:...` of the config: the image id as Docker shows it. */
  id: string;
  sizeBytes: number;
}

export type AppName = "hello" | "slow" | "crasher" | "never-healthy" | "logger" | "hostile";

const BUSYBOX = "/bin/busybox";
const APPLETS = [
  "sh",
  "httpd",
  "cat",
  "sleep",
  "usleep",
  "ls",
  "ps",
  "kill",
  "pgrep",
  "mkdir",
  "chmod",
  "env",
  "nc",
  "wget",
  "true",
  "id",
  "dd",
  "head",
  "tail",
];
const APPS = fileURLToPath(new URL("../apps/", import.meta.url));

/** Writes the test app's image archive to `path`. */
export function writeAppImage(path: string, app: AppName, options: Partial<ImageOptions> = {}): Promise<ImageArchive> {
  const script = (name: AppName): TarEntry => ({
    path: `app/${name}.sh`,
    kind: "file",
    from: join(APPS, name, "start.sh"),
  });
  const files = [script("hello"), ...(app === "hello" ? [] : [script(app)])];
  return writeImageArchive(path, {
    reference: `${app}:latest`,
    command: ["/bin/sh", `/app/${app}.sh`],
    ...options,
    files: [...files, ...(options.files ?? [])],
  });
}

export async function writeImageArchive(path: string, options: ImageOptions): Promise<ImageArchive> {
  const { reference, command, files = [], env = {}, architecture = "amd64", labels = {} } = options;
  const { busybox = await ownBusybox() } = options;
  const scratch = await mkdtemp(`${path}.`);
  try {
    const layerFile = join(scratch, "layer.tar");
    const layer = await hashInto(layerFile, tar(rootfs(busybox, files)));
    const config = JSON.stringify({
      architecture,
      os: "linux",
      created: "1970-01-01T00:00:00Z",
      config: {
        Cmd: command,
        Env: ["PATH=/bin", ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
        WorkingDir: "/",
        Labels: labels,
      },
      rootfs: { type: "layers", diff_ids: [`sha256:${layer}`] },
      history: [{ created: "1970-01-01T00:00:00Z", created_by: "flynn test image" }],
    });
    const id = createHash("sha256").update(config).digest("hex");
    const manifest = JSON.stringify([{ Config: `${id}.json`, RepoTags: [reference], Layers: [`${layer}/layer.tar`] }]);
    const entries: TarEntry[] = [
      { path: layer, kind: "folder" },
      { path: `${layer}/layer.tar`, kind: "file", from: layerFile },
      { path: `${id}.json`, kind: "file", content: config },
      { path: "manifest.json", kind: "file", content: manifest },
    ];
    await pipeline(Readable.from(tar(entries)), createWriteStream(path));
    return { path, reference, id: `sha256:${id}`, sizeBytes: (await stat(path)).size };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function ownBusybox(): Promise<TarEntry[]> {
  await access(BUSYBOX).catch((cause) => {
    throw new Error(`${BUSYBOX} is missing: apt-get install busybox-static`, { cause });
  });
  return [{ path: "bin/busybox", kind: "file", mode: 0o755, from: BUSYBOX }];
}

function rootfs(busybox: TarEntry[], files: TarEntry[]): TarEntry[] {
  return [
    ...["app", "bin", "etc", "proc", "sys", "dev"].map((path): TarEntry => ({ path, kind: "folder" })),
    { path: "tmp", kind: "folder", mode: 0o1777 },
    ...busybox,
    ...APPLETS.map((name): TarEntry => ({ path: `bin/${name}`, kind: "link", target: "busybox" })),
    { path: "etc/passwd", kind: "file", content: "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n" },
    ...files,
  ];
}

async function hashInto(path: string, chunks: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash("sha256");
  const hashed = async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(Readable.from(chunks), hashed, createWriteStream(path));
  return hash.digest("hex");
}
