// Which answers of a boot server firmware boots by, and which it drops or hangs on: every row is asked of the firmware itself. What
// bootstrap/dhcp/offer.ts sends follows from this table.
import type { FirmwareName } from "../lab/firmware/firmwares.ts";
import type { OfferRow, OfferShape } from "../lab/firmware/offers.ts";

/** boots: it fetches the file. ignored: asks on as if nothing came. hangs: asks port 4011 again and again. */
export type Outcome = "boots" | "ignored" | "hangs";

export interface TableRow extends Omit<OfferRow, "bootFile"> {
  firmware: FirmwareName;
  outcome: Outcome;
}

/** 43.6 = 8: use the file of this offer. */
const DIRECT = "060108ff";
const direct: OfferShape = { class: "PXEClient", vendor: DIRECT, file: "both" };
const binl: OfferShape = { class: "PXEClient" };
const asked = { bootServer: { from: 4011, to: "asker" } } as const;
const http: OfferShape = { class: "HTTPClient", file: "option" };

const proxy = { firmware: "ovmf", mode: "proxy" } as const;
const full = { firmware: "ovmf", mode: "full" } as const;
const byHttp = { firmware: "ovmf-http", mode: "full" } as const;
const ipxe = { firmware: "seabios", mode: "proxy" } as const;

export const TABLE: Readonly<Record<string, TableRow>> = {
  "proxy: no 54": { ...proxy, offers: [{ ...direct, serverId: false }], outcome: "ignored" },
  "proxy: no 60": { ...proxy, offers: [{ vendor: DIRECT, file: "both" }], outcome: "ignored" },
  "proxy: to the subnet's broadcast": { ...proxy, offers: [direct], to: "subnet", outcome: "ignored" },
  "proxy: 60, 54, file in header, 43.6 = 8": { ...proxy, offers: [{ ...direct, file: "header" }], outcome: "boots" },
  "proxy: the same, option 67, 43 without end": {
    ...proxy,
    offers: [{ ...direct, file: "option", vendor: "060108" }],
    outcome: "boots",
  },
  "proxy: no 97": { ...proxy, offers: [{ ...direct, guid: false }], outcome: "boots" },
  "proxy: siaddr 0": { ...proxy, offers: [{ ...direct, next: false }], outcome: "boots" },
  "proxy: 60 and 54, 4011 answers": { ...proxy, ...asked, offers: [binl], outcome: "boots" },
  "proxy: 60, 54 and file, 4011 silent": { ...proxy, offers: [{ ...binl, file: "both" }], outcome: "hangs" },
  "proxy: direct, then 4011": { ...proxy, ...asked, offers: [direct, binl], outcome: "boots" },
  "proxy: 4011, then direct": { ...proxy, ...asked, offers: [binl, direct], outcome: "boots" },
  "proxy: 4011 answers from port 67": {
    ...{ ...proxy, offers: [binl], outcome: "boots" },
    bootServer: { from: 67, to: "asker" },
  },
  "proxy: 4011 answers by broadcast": {
    ...{ ...proxy, offers: [binl], outcome: "hangs" },
    bootServer: { from: 4011, to: "broadcast" },
  },
  "full: file, no 60": { ...full, offers: [{ file: "both" }], outcome: "boots" },
  "full: 60, 4011 silent": { ...full, offers: [{ ...binl, file: "both" }], outcome: "hangs" },
  "full: 60 and 43.6 = 8": { ...full, offers: [direct], outcome: "boots" },
  "full: to the subnet's broadcast": { ...full, offers: [direct], to: "subnet", outcome: "ignored" },
  "HTTP: 60 and URL": { ...byHttp, offers: [http], outcome: "boots" },
  "HTTP, proxy: 60 and URL": { ...byHttp, mode: "proxy", offers: [http], outcome: "boots" },
  "HTTP: no 60": { ...byHttp, offers: [{ file: "option" }], outcome: "ignored" },
  "HTTP: 60 is PXEClient": { ...byHttp, offers: [{ ...http, class: "PXEClient" }], outcome: "ignored" },
  "HTTP: no 54": { ...byHttp, offers: [{ ...http, serverId: false }], outcome: "ignored" },
  "iPXE, proxy: file in header": { ...ipxe, offers: [{ ...direct, file: "header" }], outcome: "boots" },
  "iPXE, proxy: 4011 answers": { ...ipxe, ...asked, offers: [binl], outcome: "boots" },
  "iPXE, proxy: 4011 answers from port 67": {
    ...{ ...ipxe, offers: [binl], outcome: "hangs" },
    bootServer: { from: 67, to: "asker" },
  },
};
