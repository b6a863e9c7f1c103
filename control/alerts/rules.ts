// Every kind of alert: one rule each. A rule that throws harms its own kind only.
import type { AlertRule } from "./rule.ts";
import { appNotScheduled, crashLoop } from "./rules/apps.ts";
import { certificateEnds, controlCertificateEnds, memberCertificateEnds } from "./rules/certificates.ts";
import {
  backupFailing,
  diskLow,
  diskSlow,
  loopFailing,
  registryDown,
  snapshotFailing,
  writesPaused,
} from "./rules/control.ts";
import {
  brake,
  clockIsOff,
  hostLost,
  hostPressure,
  hostUnhealthy,
  machineFellBack,
  machineWaits,
  quarantine,
  routerBehind,
  routerDown,
} from "./rules/hosts.ts";
import { bmcFactoryPassword, machineLoops, rogueDhcp } from "./rules/metal.ts";

export const ALERT_RULES: readonly AlertRule[] = [
  hostLost,
  hostUnhealthy,
  hostPressure,
  clockIsOff,
  brake,
  routerDown,
  routerBehind,
  machineWaits,
  machineFellBack,
  machineLoops,
  rogueDhcp,
  bmcFactoryPassword,
  certificateEnds,
  memberCertificateEnds,
  controlCertificateEnds,
  crashLoop,
  appNotScheduled,
  loopFailing,
  diskLow,
  writesPaused,
  diskSlow,
  registryDown,
  snapshotFailing,
  backupFailing,
  quarantine,
];
