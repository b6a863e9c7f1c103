// Where this machine's Docker answers.
import { Fault } from "#api/fault.ts";

const DEFAULT_SOCKET = "/var/run/docker.sock";

export function socketOf(env: NodeJS.ProcessEnv): string {
  const host = env["DOCKER_HOST"];
  if (!host) return DEFAULT_SOCKET;
  if (!host.startsWith("unix://"))
    throw new Fault(
      "invalid",
      `DOCKER_HOST is ${host}; only unix:// sockets work here. Save the image to a file instead: docker save NAME | flynn deploy --archive -`,
    );
  return host.slice("unix://".length);
}
