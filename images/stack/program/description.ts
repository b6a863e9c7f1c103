// What the host says about the build: /in/build.json, and the app's variables as files. Read strictly; nothing of it is ever
// run or put into a path.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Places } from "./places.ts";

export interface Description {
  app: string;
  build: string;
  commit: string;
  stack: string;
  /** Chosen in the app's settings, in order. */
  buildpacks: string[];
  /** The operator's settings of package installers: the one part of a build's environment that is not the contract's. */
  environment: Record<string, string>;
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

export function parseDescription(text: string): Description {
  const value = JSON.parse(text) as Record<string, unknown>;
  if (typeof value !== "object" || value === null) throw new Error("build.json is no object");
  const string = (name: string) => (typeof value[name] === "string" ? value[name] : "");
  const listed = Array.isArray(value["buildpacks"]) ? value["buildpacks"] : [];
  const given = typeof value["environment"] === "object" && value["environment"] !== null ? value["environment"] : {};
  const environment = Object.entries(given).filter(
    (entry): entry is [string, string] => NAME.test(entry[0]) && typeof entry[1] === "string",
  );
  return {
    environment: Object.fromEntries(environment),
    app: string("app"),
    build: string("build"),
    commit: string("commit"),
    stack: string("stack"),
    buildpacks: listed.filter((each): each is string => typeof each === "string"),
  };
}

export async function readDescription({ description }: Places): Promise<Description> {
  return parseDescription(await readFile(description, "utf8"));
}

/** One variable of the app, as a person would have meant it in one line. */
export async function readVariable({ env }: Places, name: string): Promise<string> {
  return (await readFile(join(env, name), "utf8").catch(() => "")).trim();
}
