// A boot server that answers as one row of the truth table says, right or wrong: `offers.ts ROW_JSON`. It prints `ready`, then a line for
// everything the machine did: `discover`, `4011`, `tftp NAME`, `http`.
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { createServer } from "node:net";
import { argv } from "node:process";
import { addressBytes, ascii, MESSAGE, messageType, OPTION, uint32 } from "../../../bootstrap/dhcp/options.ts";
import { encodePacket, NO_ADDRESS, type Packet, parsePacket } from "../../../bootstrap/dhcp/packet.ts";

export interface OfferShape {
  /** Option 54; true unless given. */
  serverId?: boolean;
  /** Option 60. */
  class?: "PXEClient" | "HTTPClient";
  /** Option 43, as hexadecimal digits. */
  vendor?: string;
  /** Where the boot file is named; "none" unless given. */
  file?: "header" | "option" | "both" | "none";
  /** siaddr; true unless given. */
  next?: boolean;
  /** Option 97 as it came; true unless given. */
  guid?: boolean;
}

export interface OfferRow {
  mode: "full" | "proxy";
  offers: readonly OfferShape[];
  bootFile: string;
  /** Where offers on port 67 are sent; the limited broadcast unless given. */
  to?: "subnet";
  /** How a request on port 4011 is answered; not at all unless given. */
  bootServer?: { from: 67 | 4011; to: "asker" | "broadcast" };
}

const OWN = "10.77.0.1";
const GIVEN = "10.77.0.100";

if (import.meta.main) await serve(JSON.parse(argv[2] ?? "{}") as OfferRow);

async function serve(row: OfferRow): Promise<void> {
  const broadcasts = await bind("0.0.0.0", 67);
  const dhcp = await bind(OWN, 67);
  const bootServer = await bind(OWN, 4011);
  const tftp = await bind(OWN, 69);
  const http = createServer((socket) => {
    console.log("http");
    socket.destroy();
  });
  for (const socket of [dhcp, bootServer]) socket.setBroadcast(true);
  const sockets = { 67: dhcp, 4011: bootServer };

  const asked = (bytes: Buffer) => {
    const parsed = parsePacket(bytes);
    if (!parsed.ok || parsed.packet.op !== 1) return;
    const type = messageType(parsed.packet.options);
    const firmware = parsed.packet.options.has(OPTION.vendorClass);
    if (type === MESSAGE.discover && firmware) console.log("discover");
    const isOurs = parsed.packet.options.get(OPTION.serverId)?.join(".") === OWN;
    const answers = type === MESSAGE.discover || (type === MESSAGE.request && row.mode === "full" && isOurs);
    if (!answers) return;
    const to = row.to === "subnet" ? "10.77.0.255" : "255.255.255.255";
    const kind = type === MESSAGE.discover ? MESSAGE.offer : MESSAGE.ack;
    for (const shape of row.offers) dhcp.send(encodePacket(answer(parsed.packet, kind, shape, row)), 68, to);
  };
  broadcasts.on("message", asked);
  dhcp.on("message", asked);
  bootServer.on("message", (bytes: Buffer, source: RemoteInfo) => {
    const parsed = parsePacket(bytes);
    if (!parsed.ok) return;
    console.log("4011");
    if (row.bootServer === undefined) return;
    const shape: OfferShape = { class: "PXEClient", file: "both" };
    const { ciaddr } = parsed.packet;
    const ack = { ...answer(parsed.packet, MESSAGE.ack, shape, { ...row, mode: "proxy" }), ciaddr, flags: 0 };
    const { from, to } = row.bootServer;
    const [port, address] = to === "asker" ? [source.port, source.address] : [68, "255.255.255.255"];
    sockets[from].send(encodePacket(ack), port, address);
  });
  tftp.on("message", (bytes: Buffer) => console.log(`tftp ${bytes.toString("latin1", 2).split("\0")[0]}`));
  await new Promise<void>((resolve) => http.listen(7780, OWN, resolve));
  console.log("ready");
}

function answer(request: Packet, type: number, shape: OfferShape, { mode, bootFile }: OfferRow): Packet {
  const { serverId = true, file = "none", next = true, guid = true } = shape;
  const options = new Map<number, Buffer>([[OPTION.messageType, Buffer.from([type])]]);
  if (serverId) options.set(OPTION.serverId, addressBytes(OWN));
  if (mode === "full") options.set(OPTION.leaseSeconds, uint32(3600)).set(OPTION.mask, addressBytes("255.255.255.0"));
  if (shape.class !== undefined) options.set(OPTION.vendorClass, ascii(shape.class));
  if (shape.vendor !== undefined) options.set(OPTION.vendor, Buffer.from(shape.vendor, "hex"));
  if (file === "option" || file === "both") options.set(OPTION.bootfile, ascii(bootFile));
  const id = request.options.get(OPTION.clientGuid);
  if (guid && id !== undefined) options.set(OPTION.clientGuid, id);
  return {
    ...{ ...request, op: 2, hops: 0, secs: 0, ciaddr: NO_ADDRESS, giaddr: NO_ADDRESS, sname: "", options },
    yiaddr: mode === "full" ? GIVEN : NO_ADDRESS,
    siaddr: next ? OWN : NO_ADDRESS,
    file: file === "header" || file === "both" ? bootFile : "",
  };
}

function bind(address: string, port: number): Promise<Socket> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, address, () => resolve(socket));
  });
}
