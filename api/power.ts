// A machine's power and its BMC (the small computer on its board that switches it), for people. Control never talks to a BMC; it keeps
// the credential sealed and hands it to the boot server, which is on the machines' network, with the work (bmc-work.ts).
import { type Static, Type } from "typebox";
import { endpoint } from "./endpoint.ts";
import { MachineOrder } from "./machine-orders.ts";
import { Nothing, object, oneOf, Sha256, Time } from "./schema.ts";

export const BmcKind = oneOf(
  ["redfish", "ipmi", "wake"],
  "redfish: over https, its certificate pinned. ipmi: RMCP+ by `ipmitool`. wake: no BMC; Wake-on-LAN switches it on, and nothing switches it off.",
);
export type BmcKind = Static<typeof BmcKind>;

const BmcAddress = Type.String({
  maxLength: 260,
  pattern: "^([a-zA-Z0-9][a-zA-Z0-9.-]{0,252}|\\[[0-9a-fA-F:.]{2,45}\\])(:[0-9]{1,5})?$",
  description: "Host or host:port of the BMC.",
});
const BmcUser = Type.String({ maxLength: 64, pattern: "^[\\x21-\\x7e]+$" });
const CipherSuite = Type.Integer({ minimum: 1, maximum: 17, description: "RMCP+ cipher suite of ipmitool's -C." });
const SystemId = Type.String({
  maxLength: 128,
  pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$",
  description: "Which of the BMC's systems it is; needed where there are several.",
});

export const PowerState = oneOf(
  ["on", "off", "unknown"],
  "What its BMC said last; unknown: nothing did, or not in time.",
);
export type PowerState = Static<typeof PowerState>;

/** What went wrong with a BMC, as `detail.code` of timelines has it. */
export const BMC_CODES = [
  "bmc-unset",
  "bmc-unreachable",
  "bmc-timeout",
  "bmc-password",
  "bmc-privilege",
  "bmc-cipher-suite",
  "bmc-certificate",
  "bmc-certificate-unknown",
  "bmc-busy",
  "bmc-answer",
  "bmc-refused",
  "bmc-unsupported",
  "bmc-system",
  "bmc-task",
  "bmc-media",
  "boot-override",
  "power-no-effect",
  "media-no-effect",
  "wake-no-effect",
] as const;
export type BmcCode = (typeof BMC_CODES)[number];
export const BmcCode = oneOf(BMC_CODES);

export const BootBy = oneOf(
  ["pxe", "http", "media"],
  "How its firmware gets to the boot server when an order switches it on for that: told to it once, each time. Left out: its own boot order, and pxe where an order needs one.",
);
export type BootBy = Static<typeof BootBy>;

export const BmcSettings = {
  kind: BmcKind,
  address: Type.Optional(BmcAddress),
  user: Type.Optional(BmcUser),
  pinSha256: Type.Optional(
    Type.Unsafe<string>({
      ...Sha256,
      description: "sha256 of the certificate (DER) that its BMC shows. Nothing is said to one that shows another.",
    }),
  ),
  cipherSuite: Type.Optional(CipherSuite),
  systemId: Type.Optional(SystemId),
  bootBy: Type.Optional(BootBy),
};

export const BmcLook = object({
  at: Time,
  ok: Type.Boolean(),
  message: Type.String({ description: "What was found, in plain words." }),
  code: Type.Optional(BmcCode),
  power: Type.Optional(PowerState),
  pinSha256: Type.Optional(
    Type.Unsafe<string>({ ...Sha256, description: "The certificate that it showed when nothing was pinned." }),
  ),
});
export type BmcLook = Static<typeof BmcLook>;

export const Bmc = object({
  ...BmcSettings,
  passwordSet: Type.Boolean({ description: "The password itself is never shown." }),
  factoryPassword: Type.Boolean({
    description: "User and password are the ones it left its factory with: change them.",
  }),
  setAt: Time,
  setBy: Type.String(),
  lastLook: Type.Optional(BmcLook),
});
export type Bmc = Static<typeof Bmc>;

export const PutBmc = object({
  ...BmcSettings,
  password: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 128,
      pattern: "^[\\x20-\\x7e]+$",
      description:
        "Kept sealed. Left out: the one that is kept, while kind, address and user stay the same. IPMI knows 20 characters.",
    }),
  ),
});
export type PutBmc = Static<typeof PutBmc>;

const MachineParams = object({
  id: Type.String({ maxLength: 64, pattern: "^[a-zA-Z0-9][a-zA-Z0-9._:-]*$", description: "Id, name or MAC." }),
});

export const putMachineBmc = endpoint({
  id: "putMachineBmc",
  method: "PUT",
  path: "/v1/machines/:id/bmc",
  summary: "Say how a machine is switched: its BMC's address and credential, or Wake-on-LAN",
  permission: "machine:write",
  faults: ["conflict"],
  params: MachineParams,
  body: PutBmc,
  reply: Bmc,
});
export const getMachineBmc = endpoint({
  id: "getMachineBmc",
  method: "GET",
  path: "/v1/machines/:id/bmc",
  summary: "Show how a machine is switched, without the password",
  permission: "machine:read",
  params: MachineParams,
  reply: Bmc,
});
export const deleteMachineBmc = endpoint({
  id: "deleteMachineBmc",
  method: "DELETE",
  path: "/v1/machines/:id/bmc",
  summary: "Forget a machine's BMC and its credential",
  permission: "machine:write",
  faults: ["conflict"],
  params: MachineParams,
  reply: Nothing,
});
export const lookAtMachineBmc = endpoint({
  id: "lookAtMachineBmc",
  method: "POST",
  path: "/v1/machines/:id/bmc/look",
  summary: "Ask a machine's BMC now, by the boot server: its power; its certificate when none is pinned",
  permission: "machine:write",
  faults: ["conflict", "unavailable", "timeout"],
  params: MachineParams,
  body: object({}),
  reply: BmcLook,
});

export const PowerAction = oneOf(["on", "off", "cycle"]);
export type PowerAction = Static<typeof PowerAction>;
export const BootDevice = oneOf(
  ["pxe", "http", "disk", "bios", "media"],
  "pxe: network boot. http: UEFI HTTP boot. disk: its first disk. bios: firmware set-up. media: an ISO made for this machine alone, which the boot server serves and its BMC (Redfish) puts into its virtual drive: for networks that no broadcast reaches.",
);
export type BootDevice = Static<typeof BootDevice>;
export const BootMode = oneOf(["uefi", "legacy"], "How the firmware boots that once; as it is set up when left out.");
export type BootMode = Static<typeof BootMode>;

export const orderPower = endpoint({
  id: "orderPower",
  method: "POST",
  idempotent: true,
  path: "/v1/machines/:id/power",
  summary:
    "Order a machine switched on, off, or off and on; the order shows its steps and is done when it was seen to be so",
  permission: "machine:write",
  faults: ["conflict"],
  status: 202,
  location: "/v1/machines/:id/orders/{id}",
  params: MachineParams,
  body: object({
    action: PowerAction,
    force: Type.Optional(
      Type.Boolean({
        description:
          "Cut the power at once, even of a host that jobs run on. Without: refused while jobs run there, and a host is asked to shut down first.",
      }),
    ),
    boot: Type.Optional(
      Type.Unsafe<BootDevice>({
        ...BootDevice,
        description:
          "What its firmware boots once after that: set by the BMC and read back before anything is switched.",
      }),
    ),
    mode: Type.Optional(BootMode),
  }),
  reply: MachineOrder,
});

export const machineConsole = endpoint({
  id: "machineConsole",
  method: "GET",
  path: "/v1/machines/:id/console",
  summary: "What a machine wrote to its serial console last, as far as its boot server kept it",
  permission: "machine:read",
  faults: ["conflict", "unavailable", "timeout"],
  params: MachineParams,
  reply: object({
    text: Type.String({ description: "At most 256 KiB, escape sequences as they came." }),
    since: Type.Optional(Type.Unsafe<string>({ ...Time, description: "Since when its boot server has been reading." })),
  }),
});
export const createConsoleSession = endpoint({
  id: "createConsoleSession",
  method: "POST",
  path: "/v1/machines/:id/console/sessions",
  summary:
    "Get the ticket that opens a machine's serial console, once, within 30 s: offered as WebSocket subprotocols `flynn.frames.v1, flynn.ticket.TICKET`",
  permission: "machine:write",
  faults: ["conflict", "rate-limited"],
  params: MachineParams,
  body: object({}),
  reply: object({ ticket: Type.String({ description: "A secret until it is used." }), expiresAt: Time }),
  status: 201,
});
export const attachConsole = endpoint({
  id: "attachConsole",
  method: "GET",
  path: "/v1/machines/:id/console/attach",
  summary: "A machine's serial console as frames: what was kept first, then as it comes; stdin is typed there",
  permission: "machine:write",
  params: MachineParams,
  socket: true,
  reply: Nothing,
});
