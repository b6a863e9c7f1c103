// Outlives the lab process that started it and holds the other end of its standard input: when that closes, the owner is
// gone (however it died) and the run named by the argument is taken away.
import { writeFileSync } from "node:fs";
import { LAB_FOLDER, undoRun } from "./leftovers.ts";

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => undefined);
const id = process.argv[2] ?? "";
process.stdin.resume();
process.stdin.once("close", async () => {
  const problems = await undoRun(id);
  if (problems.length > 0) writeFileSync(`${LAB_FOLDER}/${id}.failed`, problems.join("\n"));
});
