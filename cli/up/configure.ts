// The appliance's settings from a command's flags, its --config file and FLYNN_UP_*. Commands import it when they run: checking
// settings takes longer to load than most commands take to run.
import { Fault } from "#api/fault.ts";
import type { Invocation } from "../command.ts";
import { loadUpConfig, type UpConfig } from "./config.ts";

export function configOf(call: Invocation): UpConfig {
  const { text, texts, on, cli } = call;
  const number = (name: string) => (text(name) === undefined ? undefined : Number(text(name)));
  const flags = {
    interface: text("interface"),
    dhcp: text("dhcp"),
    dhcpRange: text("dhcp-range"),
    unknownMachines: text("unknown-machines"),
    diskPolicy: text("disk-policy"),
    address: text("address"),
    appDomain: text("app-domain"),
    drainAllow: texts("drain-allow").length > 0 ? texts("drain-allow") : undefined,
    httpPort: number("http-port"),
    httpsPort: number("https-port"),
    host: on("no-host") ? false : undefined,
    ssh: on("no-ssh") ? false : undefined,
    imagesDir: text("images"),
    stateDir: text("state"),
    salvage: on("salvage") ? true : undefined,
  };
  try {
    return loadUpConfig({ file: text("config"), env: cli.env, root: process.getuid?.() === 0, flags });
  } catch (error) {
    throw new Fault("invalid", (error as Error).message, { cause: (error as Error).cause });
  }
}
