// The command table: every command of every noun.

import { alertCommands } from "./commands/alerts.ts";
import { appCommands } from "./commands/apps.ts";
import { buildCommands } from "./commands/builds.ts";
import { certificateCommands } from "./commands/certificates.ts";
import { clusterCommands } from "./commands/cluster.ts";
import { completionCommands } from "./commands/completion.ts";
import { deployCommands } from "./commands/deploy.ts";
import { deploySettingCommands } from "./commands/deploy-settings.ts";
import { doctorCommands } from "./commands/doctor.ts";
import { envCommands } from "./commands/env.ts";
import { forwardCommands } from "./commands/forward.ts";
import { gitCommands } from "./commands/git.ts";
import { hostCommands } from "./commands/hosts.ts";
import { imageCommands } from "./commands/images.ts";
import { jobCommands } from "./commands/jobs.ts";
import { keyCommands } from "./commands/keys.ts";
import { limitCommands } from "./commands/limits.ts";
import { logCommands } from "./commands/log.ts";
import { logDrainCommands } from "./commands/log-drains.ts";
import { machineCommands } from "./commands/machines.ts";
import { maintenanceCommands } from "./commands/maintenance.ts";
import { networkCommands } from "./commands/network.ts";
import { profileCommands } from "./commands/profiles.ts";
import { quarantineCommands } from "./commands/quarantine.ts";
import { releaseCommands } from "./commands/releases.ts";
import { restartCommands } from "./commands/restart.ts";
import { rolloutCommands } from "./commands/rollouts.ts";
import { routerCommands } from "./commands/routers.ts";
import { routeCommands } from "./commands/routes.ts";
import { runCommands } from "./commands/run.ts";
import { scaleCommands } from "./commands/scale.ts";
import { serviceCommands } from "./commands/services.ts";
import { stackCommands } from "./commands/stack.ts";
import { stateCommands } from "./commands/state.ts";
import { statusCommands } from "./commands/status.ts";
import { tokenCommands } from "./commands/tokens.ts";
import { upCommands } from "./commands/up.ts";
import type { Command } from "./parse/command.ts";

export const commands: readonly Command[] = [
  ...upCommands,
  ...statusCommands,
  ...alertCommands,
  ...quarantineCommands,
  ...doctorCommands,
  ...clusterCommands,
  ...stateCommands,
  ...machineCommands,
  ...hostCommands,
  ...imageCommands,
  ...rolloutCommands,
  ...stackCommands,
  ...profileCommands,
  ...appCommands,
  ...gitCommands,
  ...keyCommands,
  ...tokenCommands,
  ...deployCommands,
  ...deploySettingCommands,
  ...buildCommands,
  ...releaseCommands,
  ...envCommands,
  ...scaleCommands,
  ...jobCommands,
  ...forwardCommands,
  ...runCommands,
  ...limitCommands,
  ...restartCommands,
  ...logCommands,
  ...logDrainCommands,
  ...routeCommands,
  ...networkCommands,
  ...certificateCommands,
  ...maintenanceCommands,
  ...routerCommands,
  ...serviceCommands,
  ...completionCommands,
];
