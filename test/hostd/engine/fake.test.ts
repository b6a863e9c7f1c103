import { test } from "uvu";
import { fakeEngine } from "../../../hostd/engine/fake.ts";
import { engineContract } from "../../contract/engine.ts";

engineContract("fake", async () => {
  const scripts = new Map<string, { lines?: string[]; exitCode?: number; ignoreTerm?: boolean }>();
  const engine = fakeEngine({ onTerm: (name) => (scripts.get(name)?.ignoreTerm ? undefined : 143) });
  return {
    engine,
    image: "127.0.0.1:5000/contract@sha256:00",
    script(spec, act) {
      scripts.set(spec.name, act);
      return spec;
    },
    act(name) {
      const { lines = [], exitCode } = scripts.get(name) ?? {};
      for (const line of lines) engine.print(name, line);
      if (exitCode !== undefined) engine.exit(name, exitCode);
    },
  };
});

test.run();
