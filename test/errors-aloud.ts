// Loaded by the runner before a test file (`node --import`): its uvu is uvu-aloud.ts.
import { registerHooks } from "node:module";

const real = import.meta.resolve("uvu");
const aloud = new URL("uvu-aloud.ts", import.meta.url).href;

registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    return resolved.url === real && context.parentURL !== aloud
      ? { ...resolved, url: aloud, format: "module-typescript" }
      : resolved;
  },
});
