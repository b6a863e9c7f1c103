// A builder of Cloud Native Buildpacks for a lab, made without Docker: the real lifecycle, and one buildpack in shell that fits
// sources with an app.sh. And the run image that its apps are laid on.
import { createHash } from "node:crypto";
import { type ImageArchive, writeImageArchive } from "./image.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { TarEntry } from "./tar.ts";

export const CNB_USER = 1234;
export const CNB_BUILDER = "lab.test/cnb-builder:1";
export const CNB_RUN = "lab.test/cnb-run:1";

const DETECT = `#!/bin/sh
[ -f app.sh ] || { echo "no app.sh"; exit 100; }
`;
/** What it sees and may is said in the log. The layer \`kept\` is cached: it counts the app's builds. */
const BUILD = `#!/bin/sh
set -e
layers="$1" platform="$2"
echo "-----> Shell buildpack as $(id -u)"
echo "variable \${GREETING-none}; file $(cat "$platform/env/GREETING" 2>/dev/null || echo none)"
env | grep -q REGISTRY_AUTH && echo "has credentials" || echo "has no credentials"
ls / | grep -q '^layout$' && echo "sees the layout" || echo "does not see the layout"
. ./build.sh
mkdir -p "$layers/kept" "$layers/count/env"
count=$(( $(cat "$layers/kept/value" 2>/dev/null || echo 0) + 1 ))
echo "build $count with this cache"
echo "$count" > "$layers/kept/value"
printf '%s' "$count" > "$layers/count/env/COUNT"
printf '[types]\\nlaunch = true\\n' > "$layers/count.toml"
printf '[types]\\nbuild = true\\ncache = true\\n' > "$layers/kept.toml"
printf '[[processes]]\\ntype = "web"\\ncommand = ["sh", "/workspace/app.sh"]\\ndefault = true\\n' > "$layers/launch.toml"
printf '[[processes]]\\ntype = "worker"\\ncommand = ["sleep", "600"]\\n' >> "$layers/launch.toml"
`;
const BUILDPACK = `api = "0.10"
[buildpack]
id = "lab/shell"
version = "1.0.0"
name = "Shell"
[[targets]]
os = "linux"
`;
const ORDER = `[[order]]
[[order.group]]
id = "lab/shell"
version = "1.0.0"
`;

const folders = (...paths: string[]): TarEntry[] => paths.map((path) => ({ path, kind: "folder" }));
const file = (path: string, content: string, mode = 0o644): TarEntry => ({ path, kind: "file", content, mode });

export function writeCnbBuilder(path: string, { lifecycle, launcher }: Lifecycle): Promise<ImageArchive> {
  const pack = "cnb/buildpacks/lab_shell/1.0.0";
  const platform = { deprecated: [], supported: ["0.7", "0.8", "0.9", "0.10", "0.11", "0.12", "0.13", "0.14"] };
  const metadata = {
    images: [{ image: "lab.test/made-for:1" }],
    lifecycle: { version: "0.20.11", apis: { platform } },
    buildpacks: [{ id: "lab/shell", version: "1.0.0" }],
  };
  return writeImageArchive(path, {
    reference: CNB_BUILDER,
    command: ["/bin/sh"],
    env: { CNB_USER_ID: String(CNB_USER), CNB_GROUP_ID: String(CNB_USER) },
    labels: { "io.buildpacks.builder.metadata": JSON.stringify(metadata) },
    files: [
      { path: "bin/grep", kind: "link", target: "busybox" },
      ...folders("cnb", "cnb/lifecycle", "cnb/buildpacks", "cnb/buildpacks/lab_shell", pack, `${pack}/bin`),
      file("cnb/order.toml", ORDER),
      file(`${pack}/buildpack.toml`, BUILDPACK),
      file(`${pack}/bin/detect`, DETECT, 0o755),
      file(`${pack}/bin/build`, BUILD, 0o755),
      { path: "cnb/lifecycle/lifecycle", kind: "file", mode: 0o755, from: lifecycle },
      { path: "cnb/lifecycle/launcher", kind: "file", mode: 0o755, from: launcher },
      ...["analyzer", "detector", "restorer", "builder", "exporter"].map(
        (name): TarEntry => ({ path: `cnb/lifecycle/${name}`, kind: "link", target: "lifecycle" }),
      ),
    ],
  });
}

export function writeCnbRun(path: string): Promise<ImageArchive> {
  const mark = createHash("sha256").update("run image").digest("hex");
  // Launchers take lines to bash.
  const files = [file("run-image", mark), file("bin/bash", '#!/bin/sh\nexec /bin/sh "$@"\n', 0o755)];
  return writeImageArchive(path, { reference: CNB_RUN, command: ["/bin/sh"], env: { FROM_RUN_IMAGE: "1" }, files });
}
