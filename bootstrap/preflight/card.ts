// The made-up network card that asks the LAN which DHCP servers are there (probe.ts): locally administered, so that it is nobody's,
// and of one beginning, so that a boot server of this product answers it and takes it for no machine.
import { randomBytes } from "node:crypto";

const BEGINNING = "02:66:6c:79";

export const newProbeCard = (): string =>
  `${BEGINNING}:${[...randomBytes(2)].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`;

export const isProbe = (mac: string): boolean => mac.startsWith(`${BEGINNING}:`);
