// The API of apps: what they are made of, what of them runs, and how people get at it.
import type { LocalDocker } from "#api/local-docker.ts";
import type { ApiServer } from "../api-server.ts";
import type { Context } from "../context.ts";
import { socketMounter } from "../mount-socket.ts";
import { mountApps } from "../routes/apps.ts";
import { mountArtifacts } from "../routes/artifacts.ts";
import { mountBmcWork } from "../routes/bmc-work.ts";
import { mountBuilds } from "../routes/builds.ts";
import { mountCertificates } from "../routes/certificates.ts";
import { mountDeployments } from "../routes/deployments.ts";
import { mountExternalServices } from "../routes/external-services.ts";
import { mountGit } from "../routes/git.ts";
import { mountJobs } from "../routes/jobs.ts";
import { mountLogs } from "../routes/logs.ts";
import { mountMachineConsole } from "../routes/machine-console.ts";
import { mountPages } from "../routes/pages.ts";
import { mountPower } from "../routes/power.ts";
import { mountRestart } from "../routes/restart.ts";
import { mountRoutes } from "../routes/routes.ts";
import { mountServices } from "../routes/services.ts";
import { mountSessions } from "../routes/sessions.ts";
import { sessionTickets } from "../sessions/tickets.ts";
import type { Actors } from "./actors.ts";
import { monotonicMs } from "./context.ts";

interface Wired {
  context: Context;
  actors: Actors;
  docker: LocalDocker;
}

export function mountAppApi({ app, mount }: ApiServer, { context, actors, docker }: Wired): void {
  const { store, log } = context;
  const { deployer, tasks, hosts, scheduler, builds, git, archive, external, image } = actors;
  const { explain, whyWaiting } = scheduler;
  const tickets = sessionTickets({ monotonicMs });
  mountApps(mount, context, { deployments: deployer });
  mountRestart(mount, context, { deployments: deployer });
  const mountSocket = socketMounter({ app, mount, store, tickets, log });
  mountSessions(context, { mount, mountSocket, tickets, tasks, hosts });
  const power = actors.switching;
  mountPower(context, { mount, orders: actors.orders, power });
  mountMachineConsole(context, { mount, mountSocket, tickets, power });
  mountBmcWork(mount, context, power);
  mountJobs(mount, context, { tasks, explain, whyWaiting });
  mountArtifacts(mount, context, image);
  mountBuilds(mount, context, builds);
  mountGit(mount, store, git);
  git.mount(app);
  mountDeployments(mount, context, deployer);
  mountLogs(mount, context, archive);
  mountRoutes(mount, context, deployer);
  mountCertificates(mount, context);
  mountPages(mount, context);
  mountServices(mount, context, { deployments: deployer, logs: archive, image, docker, external });
  mountExternalServices(mount, context, external);
}
