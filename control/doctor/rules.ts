// Every rule of the doctor, in the order in which they are asked: what was recorded as wrong counts before what several events say
// together, and that before a silence. Of one group at most one is the cause.
import type { Rule } from "./rule.ts";
import { DHCP_RULES } from "./rules/dhcp.ts";
import { FETCH_RULES } from "./rules/fetch.ts";
import { IMAGE_RULES } from "./rules/image.ts";
import { JOIN_RULES } from "./rules/join.ts";
import { LIFE_RULES } from "./rules/life.ts";
import { POWER_RULES } from "./rules/power.ts";
import { SCRIPT_RULES } from "./rules/script.ts";

export const STALLS: readonly Rule[] = [
  ...POWER_RULES,
  ...JOIN_RULES,
  ...LIFE_RULES,
  ...IMAGE_RULES,
  ...SCRIPT_RULES,
  ...FETCH_RULES,
  ...DHCP_RULES,
];
