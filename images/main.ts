// The image builder: `build --out DIR --cache DIR --signing-key FILE [--arch amd64|arm64] [--lz4] [--offline]
// [--hostd-bundle FILE]` makes the boot image, `stack --cache DIR [--offline]` the images that build and run apps.
// Progress on stderr, the result as one JSON value on stdout; exit 1 with the reason, 2 on wrong usage.
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { run } from "#lib/run.ts";
import { formatDuration } from "#lib/units.ts";
import { sourceDateEpoch } from "./config.ts";
import { buildHostImage } from "./host/build.ts";
import { thisArchitecture } from "./host/emulator.ts";
import { ARCHITECTURES } from "./host/recipe.ts";
import { buildStack } from "./stack/build.ts";

const usage =
  "usage: images/main.ts build --out DIR --cache DIR --signing-key FILE [--arch amd64|arm64] [--lz4] [--offline] [--hostd-bundle FILE]\n" +
  "         [--uki [--uki-key FILE --uki-cert FILE] [--boot-server URL]]\n" +
  "       images/main.ts stack --cache DIR [--offline]";

function options(argv: readonly string[]) {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      out: { type: "string" },
      cache: { type: "string" },
      "signing-key": { type: "string" },
      "hostd-bundle": { type: "string" },
      "hostd-entry": { type: "string", default: resolve(import.meta.dirname, "../hostd/main.ts") },
      arch: { type: "string", default: thisArchitecture() },
      uki: { type: "boolean", default: false },
      "uki-key": { type: "string" },
      "uki-cert": { type: "string" },
      "boot-server": { type: "string" },
      lz4: { type: "boolean", default: false },
      offline: { type: "boolean", default: false },
    },
  });
  const { out, cache, "signing-key": signingKey } = values;
  const [command] = positionals;
  if (positionals.length !== 1 || (command !== "build" && command !== "stack"))
    throw new Error("the commands are build and stack");
  if (command === "stack") {
    if (!cache) throw new Error("--cache is needed");
    return { ...values, command, out: "", signingKey: "", cache } as const;
  }
  if (!out || !cache || !signingKey) throw new Error("--out, --cache and --signing-key are needed");
  const architecture = ARCHITECTURES.find((one) => one === values.arch);
  if (architecture === undefined) throw new Error(`--arch is ${ARCHITECTURES.join(" or ")}, not ${values.arch}`);
  const { "uki-key": key, "uki-cert": certificate, "boot-server": bootServer } = values;
  if ((key === undefined) !== (certificate === undefined)) throw new Error("--uki-key and --uki-cert go together");
  if (!values.uki && (key ?? bootServer) !== undefined)
    throw new Error("--uki-key, --uki-cert and --boot-server are for --uki");
  if (bootServer !== undefined && !/^http:\/\/[0-9a-z.-]+(:\d+)?$/.test(bootServer))
    throw new Error("--boot-server is such as http://10.0.0.1:7780");
  const keys =
    key === undefined || certificate === undefined
      ? undefined
      : { keyFile: resolve(key), certificateFile: resolve(certificate) };
  const uki = values.uki ? { keys, bootServer } : undefined;
  return { ...values, command, out, cache, signingKey, architecture, uki } as const;
}

run(async (signal) => {
  const startedAt = performance.now();
  const say = (line: string) =>
    process.stderr.write(`${formatDuration(performance.now() - startedAt).padStart(7)}  ${line}\n`);
  let given: ReturnType<typeof options>;
  try {
    given = options(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`error: ${(error as Error).message}\n${usage}\n`);
    return 2;
  }
  const print = (built: object) => {
    const seconds = Number(((performance.now() - startedAt) / 1000).toFixed(1));
    process.stdout.write(`${JSON.stringify({ ...built, seconds })}\n`);
    return 0;
  };
  if (given.command === "stack") {
    const { offline } = given;
    const cacheDirectory = resolve(given.cache);
    return print(await buildStack({ cacheDirectory, offline, say, signal }));
  }
  const bundleFile = given["hostd-bundle"];
  const built = await buildHostImage({
    architecture: given.architecture,
    outDirectory: resolve(given.out),
    cacheDirectory: resolve(given.cache),
    signingKeyFile: resolve(given.signingKey),
    agentEntry: resolve(given["hostd-entry"]),
    bundleFile: bundleFile === undefined ? undefined : resolve(bundleFile),
    fast: given.lz4,
    offline: given.offline,
    epochSeconds: sourceDateEpoch(),
    uki: given.uki,
    say,
    signal,
  });
  return print(built);
});
