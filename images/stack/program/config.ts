// What /flynn/build takes from its environment: where programs are, and which stack it stands on. Everything else that
// stands there stays away from buildpacks.

export interface ProgramConfig {
  path: string;
  stack: string;
}

export function programConfig(variables: NodeJS.ProcessEnv = process.env): ProgramConfig {
  return {
    path: variables["PATH"] || "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    stack: variables["STACK"] || "flynn-12",
  };
}
