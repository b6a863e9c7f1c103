// DHCP servers that answer on a boot network beside the boot server's own: what the question to the LAN (bootstrap/preflight) hears.
import { type Static, Type } from "typebox";
import { Ipv4, Mac, object, oneOf } from "./schema.ts";

export const DhcpServer = object({
  address: Type.Unsafe<string>({ ...Ipv4, description: "Its own, as it says (option 54)." }),
  card: Type.Optional(Type.Unsafe<string>({ ...Mac, description: "Its network card, where the kernel knows it." })),
  gives: Type.Optional(Type.Unsafe<string>({ ...Ipv4, description: "The address that it offered; absent when none." })),
  router: Type.Optional(Type.Unsafe<string>({ ...Ipv4, description: "The gateway that it names." })),
  boots: Type.Boolean({ description: "It tells network boot clients what to boot (options 60, 43, 67, or a file)." }),
  file: Type.Optional(Type.String({ maxLength: 200, description: "The boot file that it names." })),
});
export type DhcpServer = Static<typeof DhcpServer>;

export const RogueDhcpServer = object({
  ...DhcpServer.properties,
  rogueAs: oneOf(
    ["new", "boots"],
    "new: it was not there when the boot server started. boots: it tells machines what to boot, as we do.",
  ),
});
export type RogueDhcpServer = Static<typeof RogueDhcpServer>;

/** One server in words, for people. */
export function dhcpServerText({ address, card, gives, boots, file }: DhcpServer): string {
  const does = [
    ...(gives === undefined ? [] : [`gives addresses such as ${gives}`]),
    ...(boots ? [`tells machines what to boot${file === undefined ? "" : ` (${file})`}`] : []),
  ];
  return `${address}${card === undefined ? "" : ` (card ${card})`} ${does.join(" and ") || "offers nothing"}`;
}
