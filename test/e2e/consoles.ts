// What the machines of a lab folder wrote to their serial consoles last.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { plainText } from "../lab/qmp.ts";

export function consoles(folder: string, lines = 15): { name: string; lines: string[] }[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".console"))
    .map((file) => ({
      name: file.replace(/\.console$/, ""),
      lines: plainText(readFileSync(join(folder, file), "latin1"))
        .split("\n")
        .filter((line) => line.trim() !== "")
        .slice(-lines),
    }));
}
