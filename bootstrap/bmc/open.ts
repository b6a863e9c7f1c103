// The switch of a machine, by how its BMC is spoken to.
import type { BmcAccess } from "#api/bmc-work.ts";
import { ipmiSwitch } from "./ipmi.ts";
import { redfishSession } from "./redfish/session.ts";
import { redfishSwitch } from "./redfish/system.ts";
import { transport } from "./redfish/transport.ts";
import type { Switch } from "./switch.ts";
import { trouble } from "./trouble.ts";

export function openSwitch(bmc: BmcAccess): Switch {
  const { kind, address, user, password, pinSha256, systemId } = bmc;
  if (kind === "wake" || address === undefined || user === undefined || password === undefined)
    throw trouble("bmc-unset", "no BMC with user and password is set for this machine");
  if (kind === "ipmi") return ipmiSwitch({ bmc });
  if (pinSha256 === undefined)
    throw trouble(
      "bmc-certificate-unknown",
      `the certificate of the BMC at ${address} was not accepted yet: nothing is said to it`,
    );
  const session = redfishSession({ transport: transport({ address, pinSha256 }), address, user, password });
  return redfishSwitch(session, { address, systemId });
}
