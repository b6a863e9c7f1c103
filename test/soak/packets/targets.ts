// What reads a stranger's bytes on the machines' network, each with what must hold whatever the bytes are. A target throws what is wrong.
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { parseRange } from "#lib/file-server/range.ts";
import { forcedDevice, ipmiTrouble, powerOf } from "../../../bootstrap/bmc/ipmi.ts";
import {
  errorText,
  isOwnPath,
  type Json,
  linkAt,
  membersOf,
  readAnswer,
  textAt,
} from "../../../bootstrap/bmc/redfish/answer.ts";
import { troubleCode } from "../../../bootstrap/bmc/trouble.ts";
import { loadersFor } from "../../../bootstrap/dhcp/boot-files.ts";
import { classify } from "../../../bootstrap/dhcp/classify.ts";
import type { OfferConfig } from "../../../bootstrap/dhcp/exchange.ts";
import { createLadder } from "../../../bootstrap/dhcp/ladder.ts";
import { createLeases } from "../../../bootstrap/dhcp/leases.ts";
import { offer } from "../../../bootstrap/dhcp/offer.ts";
import { MESSAGE, messageType } from "../../../bootstrap/dhcp/options.ts";
import { encodePacket, parsePacket } from "../../../bootstrap/dhcp/packet.ts";
import { progressOf } from "../../../bootstrap/http/progress.ts";
import { refusalOf } from "../../../bootstrap/http/refusal.ts";
import { identityOfQuery } from "../../../bootstrap/identity/claim.ts";
import { createMachines } from "../../../bootstrap/identity/machines.ts";
import { fixedFiles } from "../../../bootstrap/tftp/files.ts";
import { DEFAULT_CAPS, negotiate } from "../../../bootstrap/tftp/negotiate.ts";
import { decode } from "../../../bootstrap/tftp/packet.ts";
import { readRequest } from "../../../bootstrap/tftp/request.ts";

export interface Target {
  samples: readonly Buffer[];
  /** Reads one input; throws when it does what no input may make it do. */
  read(bytes: Buffer): void;
}

/** Lines of corpus/NAME.txt: `hex` or `text`, a space, the sample. Whatever once broke something is added there. */
export function corpus(name: string): Buffer[] {
  const text = readFileSync(new URL(`corpus/${name}.txt`, import.meta.url), "utf8");
  return text.split("\n").flatMap((line) => {
    const [kind, ...rest] = line.split(" ");
    if (kind === "hex") return [Buffer.from(rest.join(""), "hex")];
    if (kind === "text") return [Buffer.from(rest.join(" "), "utf8")];
    if (line === "" || line.startsWith("#")) return [];
    throw new Error(`corpus/${name}.txt: a line begins with ${kind}`);
  });
}

const PLAIN = /^[\x20-\x7e]*$/;
const claim = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what);
};

function dhcp(mode: OfferConfig["mode"]): Target {
  const config: OfferConfig = {
    mode,
    address: "10.77.0.1",
    network: { address: "10.77.0.0", prefix: 24 },
    httpPort: 7780,
    loaders: ["ipxe", "shim"],
    served: new Set(["undionly.kpxe", "snponly.efi", "shimx64.efi"]),
    router: "10.77.0.254",
    dns: ["10.77.0.1"],
    ntp: [],
    domain: "lab.internal",
    leaseMs: 3_600_000,
    quarantineMs: 600_000,
  };
  const leases = createLeases({ first: "10.77.0.50", last: "10.77.0.120" });
  const ladder = createLadder({ maxKeys: 256 });
  const machines = createMachines({ maxStrangers: 256 });
  let nowMs = 0;
  return {
    samples: corpus("dhcp"),
    read(bytes) {
      nowMs += 7;
      const parsed = parsePacket(bytes);
      if (!parsed.ok) return;
      const { packet } = parsed;
      const client = classify(packet);
      if (client === undefined || packet.op !== 1 || !machines.admit(client.mac, false)) return;
      const isDiscover = client.kind === "pxe" && messageType(packet.options) === MESSAGE.discover;
      const shown = isDiscover
        ? ladder.discovered(client.mac, client.firmware, loadersFor(client, config))
        : { rung: 0 as const };
      const machine = machines.offerMachine(client.mac);
      const source = { address: "10.77.0.60", port: 68 };
      const decision = offer({ packet, client, port: 67, source, machine, leases, ...shown, config, nowMs });
      if (decision.forgetOffer) leases.forgetOffer(client.mac);
      if (decision.lease) leases.apply(decision.lease);
      for (const reply of decision.replies) {
        const sent = encodePacket(reply.packet);
        claim(sent.length <= 1472, `a reply of ${sent.length} bytes`);
        const again = parsePacket(sent);
        claim(again.ok && again.packet.op === 2, "a reply that is none");
        claim(reply.packet.xid === packet.xid, "a reply to another request");
      }
      claim(leases.durable().length <= 72, "more leases than addresses");
    },
  };
}

const files = fixedFiles([["snponly.efi", Buffer.alloc(10_000, 1)]]);
const tftp: Target = {
  samples: corpus("tftp"),
  read(bytes) {
    decode(bytes);
    const asked = readRequest(bytes);
    if (asked.ask !== "read") return;
    claim(asked.name.length <= 1024, "a name without a bound");
    const { blksize, windowsize } = negotiate(asked.options, 10_000);
    claim(blksize >= 8 && blksize <= DEFAULT_CAPS.blksizeBytes, `blksize ${blksize}`);
    claim(windowsize >= 1 && blksize * windowsize <= DEFAULT_CAPS.windowBytes + blksize, `windowsize ${windowsize}`);
    files.open(asked.name, { address: "10.77.0.60", port: 1234 });
  },
};

const script: Target = {
  samples: corpus("script"),
  read(bytes) {
    const claimed = identityOfQuery(new URLSearchParams(bytes.toString("latin1")));
    if (claimed === undefined) return;
    const { mac, uuid, serial, manufacturer, product } = claimed;
    claim(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac), `card ${mac}`);
    for (const text of [uuid, serial, manufacturer, product])
      claim(text === undefined || (PLAIN.test(text) && text.length <= 64 && !text.includes("${")), `text ${text}`);
  },
};

const words: Target = {
  samples: corpus("words"),
  read(bytes) {
    const text = bytes.toString("utf8");
    const [refusal, progress] = [refusalOf(text), progressOf(text)];
    for (const told of [refusal, progress])
      claim(told === undefined || (PLAIN.test(told.message) && told.message.length <= 400), `words ${told?.message}`);
    const range = parseRange(text, 1000);
    if (range.kind === "part") claim(range.first >= 0 && range.last < 1000 && range.first <= range.last, "a range");
  },
};

/** A BMC's answer that is none is a fault with a code; a link in one stays on that BMC. */
const redfish: Target = {
  samples: corpus("redfish"),
  read(bytes) {
    let answer: Json;
    try {
      answer = readAnswer(bytes);
    } catch (error) {
      claim(troubleCode(error) === "bmc-answer", `a fault without its code: ${String(error)}`);
      return;
    }
    for (const path of membersOf(answer)) claim(isOwnPath(path), `a member elsewhere: ${path}`);
    const link = linkAt(answer, "Actions", "#ComputerSystem.Reset", "target");
    claim(link === undefined || isOwnPath(link), `a link elsewhere: ${link}`);
    textAt(answer, "PowerState");
    claim(errorText(answer).length <= 1_000, "an error without a bound");
  },
};

const ipmi: Target = {
  samples: corpus("ipmi"),
  read(bytes) {
    const text = bytes.toString("utf8");
    const power = powerOf(text);
    claim(["on", "off", "unknown"].includes(power), `power ${power}`);
    forcedDevice(text);
    claim(troubleCode(ipmiTrouble(text, "10.0.0.9")) !== undefined, "trouble without a code");
  },
};

export const TARGETS: Readonly<Record<string, Target>> = {
  "dhcp-full": dhcp("full"),
  "dhcp-proxy": dhcp("proxy"),
  tftp,
  script,
  words,
  redfish,
  ipmi,
};
