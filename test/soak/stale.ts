// Last step of `npm run check`: which soaks are older than what they cover. It says so, and fails nothing.
import { run } from "#lib/run.ts";
import { changesSince, readRows, staleLines } from "./rows.ts";
import { SOAKS } from "./soaks.ts";

run(async () => {
  const rows = await readRows();
  const changes: Record<string, number | undefined> = {};
  for (const [name, { covers }] of Object.entries(SOAKS)) {
    const row = rows[name];
    if (row !== undefined) changes[name] = await changesSince(row.commit, covers);
  }
  for (const line of staleLines(SOAKS, rows, changes)) process.stdout.write(`${line}\n`);
});
