// A text file named on the command line; what is wrong with it is said with its name.
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { Fault } from "#api/fault.ts";

const BYTES_MOST = 1 << 20;

export async function readTextFile(file: string, cwd: string): Promise<string> {
  try {
    const path = resolve(cwd, file);
    const { size } = await stat(path);
    if (size > BYTES_MOST) throw new Error(`it has ${size} bytes, ${BYTES_MOST} are the most`);
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new Fault("invalid", `read ${file}`, { cause });
  }
}
