// `node api/openapi.ts` rewrites api/openapi.json and api/openapi-agents.json; a test fails when one is stale.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { openapiText } from "./openapi/document.ts";

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL("./openapi.json", import.meta.url), openapiText("people"));
  writeFileSync(new URL("./openapi-agents.json", import.meta.url), openapiText("agents"));
}
