// Alerts of metal: the network that machines boot on, and machines that boot again and again.
import { dhcpServerText, type RogueDhcpServer } from "#api/dhcp-servers.ts";
import type { AlertRule } from "../rule.ts";

export const rogueDhcp: AlertRule = {
  kind: "rogue-dhcp",
  raiseAfterMs: 0,
  clearAfterMs: 60_000,
  all: "flynn doctor network",
  wanted: ({ lans }) => {
    if (lans.some(({ servers }) => servers === undefined)) return undefined; // not said yet, after a start of control
    return lans
      .filter(({ servers = [] }) => servers.length > 0)
      .map(({ id, name, servers = [] }) => ({
        subject: { kind: "boot-server", id, name },
        severity: servers.some(({ gives, rogueAs }) => gives !== undefined && rogueAs === "new")
          ? "critical"
          : "warning",
        what: `another DHCP server answers where ${name} boots machines: ${servers.map(({ address }) => address).join(", ")}`,
        why: servers.map(words).join(". "),
        next: "flynn doctor network",
      }));
  },
};

const words = (server: RogueDhcpServer): string =>
  `${dhcpServerText(server)}; ${
    server.rogueAs === "new"
      ? "it was not there when the boot server started: find what has that card and switch it off, or start the boot server anew if it is meant"
      : "machines boot by whichever answers first: take boot file and next server (options 43, 60, 66, 67) out of its settings"
  }`;

export const machineLoops: AlertRule = {
  kind: "machine-loops",
  raiseAfterMs: 0,
  clearAfterMs: 0,
  all: "flynn machine list",
  wanted: ({ machines }) =>
    machines
      .filter(({ state }) => state === "failed")
      .map(({ id, name, reason }) => ({
        subject: { kind: "machine", id, name },
        severity: "critical",
        what: `machine ${name} boots again and again and never becomes ready`,
        why: `${reason || "it gives no reason"}. It is left in a rescue shell or with its last good image until somebody looks at it`,
        next: `flynn machine explain ${name}`,
      })),
};

export const bmcFactoryPassword: AlertRule = {
  kind: "bmc-factory-password",
  raiseAfterMs: 0,
  clearAfterMs: 0,
  all: "flynn machine list",
  wanted: ({ machines, factoryBmcs }) =>
    factoryBmcs.flatMap(({ machineId, address, user }) => {
      const machine = machines.find(({ id }) => id === machineId);
      if (machine === undefined) return [];
      const { id, name } = machine;
      return [
        {
          subject: { kind: "machine" as const, id, name },
          severity: "warning" as const,
          what: `the BMC of machine ${name} has the password that it left its factory with`,
          why: `whoever reaches ${address} and knows its maker logs in as ${user}, switches the machine and boots it from what they like. Change it at the BMC, then here`,
          next: `flynn machine bmc set ${name}`,
        },
      ];
    }),
};
