// Run as a program of its own: every parser of a tenant's text on texts made to take long. Names each before it begins, so that whoever
// waits in vain knows which it was.
import { Readable } from "node:stream";
import { readOwn } from "#api/cloud-config/own.ts";
import { parseProcfile } from "#api/procfile.ts";
import { parseProjectToml } from "#api/project-toml.ts";
import { gitignore } from "#lib/gitignore.ts";
import { shownLine } from "#lib/output-text.ts";
import { refusalOf } from "../../bootstrap/http/refusal.ts";
import { parseAppJson } from "../../control/apps/app-json.ts";
import { emptySubmodule } from "../../control/builds/facts.ts";
import { withLastWords } from "../../control/builds/last-words.ts";
import { plainText } from "../../control/events.ts";
import { checkImageConfig } from "../../control/image-config.ts";
import { readOutput } from "../../hostd/builds/dockerfile-output.ts";
import { parseDockerfile } from "../../hostd/builds/dockerfile-syntax.ts";
import { parseReference } from "../../hostd/builds/image-reference.ts";
import { dockerfileArgs } from "../../hostd/builds/installers.ts";
import { lines } from "../../hostd/builds/lines.ts";
import { deletedRange } from "../../hostd/job-disk/use.ts";
import { tells } from "../../hostd/logs/capture.ts";
import { memoryPlace } from "../../hostd/memory.ts";
import { accessLine } from "../../router/access-log.ts";

const LENGTH = 256 << 10;

const PARSERS: Record<string, (text: string) => unknown> = {
  "a log line": tells,
  "a line of a build": (text) => shownLine(text, 8_192),
  "what a build printed": async (text) => {
    for await (const line of lines(Readable.from([Buffer.from(text.slice(0, 32_768))]))) shownLine(line, 8_192);
  },
  "last words of a build": (text) => withLastWords("ended", text),
  "a mapping": deletedRange,
  "a cgroup": memoryPlace,
  ".gitmodules": (text) => emptySubmodule(text, () => []),
  Dockerfile: parseDockerfile,
  "arguments of a Dockerfile": (text) => dockerfileArgs({ env: {} }, { args: {}, text }),
  "output of a Dockerfile's build": (text) => readOutput([text]).read("Step 1/1 : x\n"),
  "an image's name": parseReference,
  ".gitignore": (text) => gitignore([text.slice(0, 16_384)])(text.slice(0, 255), false),
  Procfile: parseProcfile,
  "project.toml": parseProjectToml,
  "app.json": parseAppJson,
  "a cloud-config of one's own": (text) => readOwn(text.slice(0, 16_384)),
  "a refusal of an initrd": refusalOf,
  "an image's configuration": (text) => checkImageConfig(text),
  "a line of HAProxy": (text) => accessLine(text, () => undefined),
  "a reason": plainText,
};
const FILLERS = [
  " ",
  "\t",
  "\r",
  "\n",
  " \n",
  "\r\n",
  "\0",
  "a",
  "A",
  "0",
  "-",
  "--",
  "/",
  "\\",
  "\\\n",
  "=",
  " =",
  ":",
  "#",
  "'",
  '"',
  "(",
  ")",
  "{",
  "[",
  "<",
  ",",
  ".",
  "..",
  "@",
  "$",
  "${",
  "%",
  "\u001b",
  "\u001b[",
  "\u001b]",
  "\u001b[0",
  "at ",
  "a ",
  "a=",
  "a: ",
  "x/",
  " /a (deleted",
  "é",
  "\ud800",
];
const FRAMES = [
  ["", ""],
  ["", "x"],
  ["x", ""],
  ["a = ", "b"],
  ["# a = x", "y"],
  ["path = x", "y"],
  ["RUN ", "x"],
  ["a: ", "x"],
  ["{", "}"],
  ["a = '", "'"],
  ["at ", "\u0001"],
  ["0-1 r /", " (deleted)x"],
  ["ARG a=", "$" + "{b}"],
] as const;

for (const [name, parse] of Object.entries(PARSERS)) {
  console.log(name);
  for (const filler of FILLERS)
    for (const [begin, end] of FRAMES) {
      const text = begin + filler.repeat(Math.floor(LENGTH / filler.length)) + end;
      try {
        await parse(text);
      } catch {
        // A refusal is an answer; that it comes soon is what is looked at.
      }
    }
}
console.log("all");
