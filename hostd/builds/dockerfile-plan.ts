// A Dockerfile made safe to be built on a shared host, as a rule. Docker itself, not the build, fetches what FROM, COPY --from and
// ADD name, with this host's certificate and from this host's place in the network; so each image is spelled out here, where it can
// be checked, and what cannot be read with certainty is refused. What Docker then gets is written anew from what was understood, so
// that it cannot read it otherwise. A label after each FROM parts the build caches of apps: Docker shares layers between builds
// whose steps are equal, and leaves proxy arguments out of that comparison.
import {
  DockerfileError,
  expandWord,
  formatInstruction,
  type Instruction,
  parseDockerfile,
  quotedWords,
  variablesOf,
  wordsOf,
} from "./dockerfile-syntax.ts";
import { BUILD_LABELS } from "./engine.ts";
import { type ImageReference, localName, parseReference } from "./image-reference.ts";

export interface DockerfilePlan {
  /** The Dockerfile as Docker gets it. */
  text: string;
  /** Images it is made from, beside its own stages; each with the line that names it. */
  images: { reference: ImageReference; line: number }[];
  /** One per step of Docker: the line as people wrote it, or undefined for ours. */
  steps: (string | undefined)[];
}

export interface DockerfileInput {
  text: string;
  args: Readonly<Record<string, string>>;
  cacheKey: string;
  /** linux/amd64. */
  platform: string;
}

const FLAGS: Readonly<Record<string, readonly string[]>> = {
  FROM: ["platform"],
  COPY: ["from", "chown"],
  ADD: ["chown"],
  HEALTHCHECK: ["interval", "timeout", "start-period", "retries"],
};
const BUILT_ON = /^\$\{?(BUILDPLATFORM|TARGETPLATFORM)\}?$/;
const REMOTE = /^\s*(?:[a-z][a-z0-9+.-]*:\/\/|git@|github\.com\/)/i;

export function planDockerfile({ text, args, cacheKey, platform }: DockerfileInput): DockerfilePlan {
  const { escapeMark, instructions } = parseDockerfile(text);
  const variables: Record<string, string> = {};
  /** Values that cannot be told here: they matter only where FROM uses them. */
  const untold = new Set<string>();
  const namesUntold = (word: string): string | undefined => variablesOf(word).find((name) => untold.has(name));
  const stages: string[] = [];
  const images: DockerfilePlan["images"] = [];
  const out = escapeMark === "\\" ? [] : [`# escape=${escapeMark}`];
  const steps: (string | undefined)[] = [];
  const external = (name: string, line: number): string => {
    const reference = parseReference(name);
    if (reference === undefined) throw new DockerfileError(`line ${line}: ${JSON.stringify(name)} is no image name`);
    images.push({ reference, line });
    return localName(reference);
  };

  const from = (instruction: Instruction): Instruction => {
    const { flags, rest, line } = instruction;
    const [word = "", as, name, ...more] = rest.split(/\s+/);
    if (word === "" || more.length > 0 || (as !== undefined && (as.toLowerCase() !== "as" || name === undefined)))
      throw new DockerfileError(`line ${line}: FROM is followed by an image, and perhaps AS and a name`);
    for (const flag of flags) {
      const wanted = flag.slice("--platform=".length);
      if (!BUILT_ON.test(wanted) && wanted !== platform)
        throw new DockerfileError(`line ${line}: this host builds for ${platform} only, not ${wanted.slice(0, 40)}`);
    }
    const unknown = namesUntold(word);
    if (unknown !== undefined) throw new DockerfileError(`line ${line}: the value of ${unknown} cannot be told`);
    const image = expandWord(word, escapeMark, variables);
    if (image === undefined || image === "")
      throw new DockerfileError(`line ${line}: the image that FROM names cannot be told: ${word.slice(0, 200)}`);
    const earlier = stages.includes(image.toLowerCase());
    const literal = earlier ? image.toLowerCase() : image === "scratch" ? image : external(image, line);
    const stage = name?.toLowerCase();
    if (stage !== undefined && !/^[a-z][a-z0-9_.-]*$/.test(stage))
      throw new DockerfileError(`line ${line}: ${name} is no name for a stage`);
    stages.push(stage ?? "");
    return { ...instruction, flags: [], rest: stage === undefined ? literal : `${literal} AS ${stage}` };
  };

  const copyFrom = (flag: string, line: number): string => {
    const name = flag.slice("--from=".length);
    const current = stages.length - 1;
    if (/^\d+$/.test(name) && Number(name) < current) return flag;
    const earlier = stages.slice(0, current).includes(name.toLowerCase());
    return `--from=${earlier ? name.toLowerCase() : external(name, line)}`;
  };

  const rewrite = (instruction: Instruction): Instruction => {
    checkInstruction(instruction, escapeMark);
    const { name, flags, line } = instruction;
    if (name === "FROM") return from(instruction);
    if (stages.length === 0) {
      if (name !== "ARG") throw new DockerfileError(`line ${line}: ${name} comes before the first FROM`);
      readArgs(instruction);
      return instruction;
    }
    if (name === "COPY")
      return { ...instruction, flags: flags.map((flag) => (flag.startsWith("--from=") ? copyFrom(flag, line) : flag)) };
    return instruction;
  };

  /** Arguments before the first FROM are what its image may be named with. */
  const readArgs = ({ rest, line }: Instruction): void => {
    for (const word of quotedWords(rest, escapeMark)) {
      const [, name, standard] = /^([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?$/s.exec(word) ?? [];
      if (name === undefined) throw new DockerfileError(`line ${line}: ARG with ${word.slice(0, 80)} cannot be read`);
      const isTold = Object.hasOwn(args, name) || namesUntold(standard ?? "") === undefined;
      const value = Object.hasOwn(args, name) ? args[name] : expandWord(standard ?? "", escapeMark, variables);
      untold.delete(name);
      if (value === undefined || !isTold) untold.add(name);
      else variables[name] = value;
    }
  };

  for (const instruction of instructions) {
    out.push(formatInstruction(rewrite(instruction)));
    steps.push(formatInstruction(instruction));
    if (instruction.name !== "FROM") continue;
    out.push(`LABEL ${BUILD_LABELS.cache}=${JSON.stringify(cacheKey)}`);
    steps.push(undefined);
  }
  if (stages.length === 0) throw new DockerfileError("it has no FROM");
  return { text: `${out.join("\n")}\n`, images, steps };
}

/** What Docker runs for a base image's ONBUILD is held to the same rule. */
export function checkTrigger(trigger: string): void {
  const { escapeMark, instructions } = parseDockerfile(trigger);
  for (const instruction of instructions) checkOnBuild(instruction, escapeMark);
}

function checkInstruction(instruction: Instruction, escapeMark: string): void {
  const { name, flags, rest, line } = instruction;
  const known = FLAGS[name] ?? [];
  for (const flag of flags) {
    const [, option = "", value = ""] = /^--([a-z-]+)=(.+)$/.exec(flag) ?? [];
    if (!known.includes(option))
      throw new DockerfileError(
        `line ${line}: ${name} ${flag.slice(0, 60)} needs BuildKit, which this cluster has not`,
      );
    const plain = option === "from" ? /^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/ : /^[^"'\\`]+$/;
    if (!plain.test(value))
      throw new DockerfileError(`line ${line}: ${flag.slice(0, 60)} cannot be read; write it out`);
  }
  if (
    ["RUN", "COPY", "ADD"].includes(name) &&
    /^<<|\s<<-?["']?[A-Za-z_]/.test(name === "RUN" ? rest.split("\n")[0]! : rest)
  ) {
    // In RUN it is the shell's own unless its lines follow, and then they are no instructions.
    if (name !== "RUN" || rest.startsWith("<<"))
      throw new DockerfileError(`line ${line}: ${name} << needs BuildKit, which this cluster has not`);
  }
  if (name === "ADD") checkAdd(instruction, escapeMark);
  if (name === "ONBUILD") {
    const [inner] = parseDockerfile(rest).instructions;
    if (inner === undefined) throw new DockerfileError(`line ${line}: ONBUILD of nothing`);
    checkOnBuild({ ...inner, line }, escapeMark);
  }
}

function checkOnBuild(instruction: Instruction, escapeMark: string): void {
  const { name, flags, line } = instruction;
  if (["FROM", "ONBUILD", "MAINTAINER"].includes(name)) throw new DockerfileError(`line ${line}: ONBUILD ${name}`);
  if (flags.some((flag) => !/^--(chown|interval|timeout|start-period|retries)=/.test(flag)))
    throw new DockerfileError(`line ${line}: ONBUILD ${name} ${flags[0]?.slice(0, 60)} is refused here`);
  checkInstruction(instruction, escapeMark);
}

/** Docker fetches an address from where the host is, past all that closes builds off. */
function checkAdd({ rest, line }: Instruction, escapeMark: string): void {
  for (const source of wordsOf(rest).slice(0, -1)) {
    if (REMOTE.test(source))
      throw new DockerfileError(
        `line ${line}: ADD of an address is refused: fetch it in a RUN step, with curl or wget`,
      );
    if (/[$"']/.test(source) || source.includes(escapeMark))
      throw new DockerfileError(`line ${line}: ADD with variables or quotes is refused: use COPY`);
  }
}
