// Which buildpacks build this app: those of the settings, else BUILDPACK_URL, else .buildpacks, else the first of ours that
// knows the source.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readVariable } from "./description.ts";
import { BuildFailure } from "./failure.ts";
import { fetchBuildpack } from "./fetch.ts";
import { detect, type Pack, type PackRun } from "./pack.ts";
import type { Places } from "./places.ts";
import { type BuiltIn, builtIn, parseBuildpacksFile, parseReference } from "./reference.ts";
import type { Say } from "./say.ts";

export interface Chosen {
  /** The name as which a buildpack knows the app; without one it is yet to be asked, when those before it have compiled. */
  packs: { pack: Pack; name?: string }[];
}

const PACKS_MOST = 16;
/** Of ours, those that mean a language: two of them fitting is worth a word. */
const languages: readonly BuiltIn[] = ["ruby", "nodejs", "python", "go"];

export async function wanted(
  places: Places,
  configured: readonly string[],
): Promise<{ from: string; names: string[] }> {
  if (configured.length > 0) return { from: "the app's settings", names: [...configured] };
  const url = await readVariable(places, "BUILDPACK_URL");
  if (url !== "") return { from: "BUILDPACK_URL", names: [url] };
  const file = await readFile(join(places.app, ".buildpacks"), "utf8").catch(() => "");
  return { from: ".buildpacks", names: parseBuildpacksFile(file) };
}

export async function choose(
  places: Places,
  run: PackRun,
  options: { configured: readonly string[]; say: Say },
): Promise<Chosen> {
  const { configured, say } = options;
  const { from, names } = await wanted(places, configured);
  if (names.length === 0) return await firstThatFits(places, run, say);
  if (names.length > PACKS_MOST) throw new BuildFailure(`${from} names more than ${PACKS_MOST} buildpacks`);
  const packs: Chosen["packs"] = [];
  for (const [at, text] of names.entries()) {
    const reference = parseReference(text);
    if (reference.kind === "refused")
      throw new BuildFailure(`${from}: buildpack ${at + 1} is refused: ${reference.why}`);
    say.step(`Using buildpack: ${reference.shown}`);
    const directory =
      reference.kind === "built-in"
        ? join(places.buildpacks, reference.name)
        : await fetchBuildpack(reference, {
            directory: join(places.temporary, `buildpack-${at}`),
            path: run.environment["PATH"]!,
            signal: run.signal,
          });
    packs.push({ pack: { directory, shown: reference.shown, foreign: reference.kind !== "built-in" } });
  }
  return { packs };
}

async function firstThatFits(places: Places, run: PackRun, say: Say): Promise<Chosen> {
  say.step("Determining which buildpack to use for this app");
  const fitting: Chosen["packs"] = [];
  for (const name of builtIn) {
    if (fitting.length > 0 && !languages.includes(name)) break;
    const pack = { directory: join(places.buildpacks, name), shown: name, foreign: false };
    const found = await detect(pack, run);
    if (found !== undefined) fitting.push({ pack, name: found });
  }
  const [first] = fitting;
  if (first === undefined) {
    throw new BuildFailure("no buildpack knows what this app is made of", {
      details: [
        "Looked for Gemfile, package.json, requirements.txt or pyproject.toml, go.mod, index.html, a Procfile,",
        "at the top of the source. Name a buildpack with a .buildpacks file, or add a Dockerfile.",
      ],
    });
  }
  if (fitting.length > 1) {
    say.warn(
      `Several buildpacks fit: ${fitting.map(({ pack }) => pack.shown).join(", ")}. The first is used;\na .buildpacks file with their names uses more than one.`,
    );
  }
  return { packs: [first] };
}
