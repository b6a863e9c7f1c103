// test/lab/deploys.test.ts with two hundred deployments, where npm test makes sixty.
import { runTests } from "./run-tests.ts";
import type { Soak } from "./soaks.ts";

const COUNT = 200;

export const deployments: Soak = {
  what: `${COUNT} deployments under load, with parts killed`,
  covers: ["control", "hostd", "router", "test/lab/deploys.test.ts"],
  async run({ signal, say }) {
    const { passed } = await runTests(["test/lab/deploys.test.ts"], {
      env: { FLYNN_TEST_DEPLOYMENTS: String(COUNT) },
      signal,
      say,
      limitMs: 2_700_000,
    });
    return { done: true, figures: { deployments: COUNT, passed } };
  },
};
