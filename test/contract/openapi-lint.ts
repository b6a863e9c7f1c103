// Part of `npm run check`: both documents of the API against Redocly's recommended rules, where a warning counts too.
import { fileURLToPath } from "node:url";
import { createConfig, lint } from "@redocly/openapi-core";
import { run } from "#lib/run.ts";

/** Rules that say nothing true of these documents, with why. */
const OFF = {
  "operation-2xx-response": "off", // a WebSocket's answer is 101
} as const;

async function main(): Promise<number> {
  const config = await createConfig({ extends: ["recommended"], rules: OFF });
  let count = 0;
  for (const name of ["openapi.json", "openapi-agents.json"]) {
    const problems = await lint({ ref: fileURLToPath(new URL(`../../api/${name}`, import.meta.url)), config });
    for (const { severity, ruleId, message, location } of problems)
      console.error(`api/${name}: ${severity} ${ruleId}: ${message} (${location[0]?.pointer ?? ""})`);
    count += problems.length;
  }
  if (count > 0) console.error(`${count} faults in the documents of the API`);
  return count === 0 ? 0 : 1;
}

run(main);
