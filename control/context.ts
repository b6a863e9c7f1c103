// What every route and loop of control is given. Nothing here is a singleton; main builds one and passes it.
import type { BuildSpec } from "#api/builds.ts";
import type { Hello } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import type { ControlConfig } from "./config.ts";
import type { DiskRoom } from "./disk/room.ts";
import type { Authority } from "./identity/authority.ts";
import type { JobIndex } from "./job-index.ts";
import type { OwnLog } from "./logs/own-log.ts";
import type { Reaches } from "./network/reaches.ts";
import type { Presence } from "./presence.ts";
import type { Secrets } from "./secrets.ts";
import type { Store } from "./store/store.ts";

export interface Context {
  store: Store;
  config: ControlConfig;
  authority: Authority;
  /** Seals what the database must not show. */
  secrets: Secrets;
  log: Log;
  jobs: JobIndex;
  presence: Presence;
  reaches: Reaches;
  /** Where lines go that no container wrote. */
  ownLog: OwnLog;
  /** The gate of bulk bytes. */
  room: DiskRoom;
  /** host:port of the registry as hosts reach it. */
  registry: string;
  /** What package installers of every build are given. */
  installers: BuildSpec["installers"];
  /** https URLs that hosts and people reach control by. */
  controlUrls: string[];
  /** What control says of itself. */
  hello: Hello;
  startedAt: string;
  now: () => Date;
}
