// What hosts' targets are given that other rooms of control know: variables in clear, builds, the stack.
import { openEnv, openTaskEnv, type TaskEnvRecord } from "./apps/env-at-rest.ts";
import { commandEntrypoint } from "./builds/processes.ts";
import { buildSpec, stackOf } from "./builds/spec.ts";
import type { Context } from "./context.ts";
import { keys } from "./keys.ts";
import type { HostInputs } from "./targets/host.ts";

/** Read from what is durable alone, as all that leaves control is. */
export function hostInputs({
  store: newest,
  registry,
  secrets,
  installers,
}: Pick<Context, "store" | "registry" | "secrets" | "installers">): HostInputs {
  const store = newest.durable;
  return {
    envOf: (release) => openEnv(secrets, release),
    taskEnvOf({ appId, id }) {
      const own = store.get<TaskEnvRecord>(keys.taskEnv(appId, id))?.value;
      return own === undefined ? {} : openTaskEnv(secrets, id, own);
    },
    entrypointOf: commandEntrypoint,
    buildOf: (job) => buildSpec(job, { store, registry, secrets, installers }),
    stack: () => stackOf({ store, registry }),
  };
}
