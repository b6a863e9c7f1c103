// What a packet on the well-known port asks for, or the ERROR it gets.
import { decode, ERROR_CODE, type Options } from "./packet.ts";

export type Asked =
  | { ask: "read"; name: string; options: Options }
  | { ask: "refused"; code: number; message: string; malformed: boolean }
  | { ask: "other"; malformed: boolean };

export function readRequest(message: Buffer): Asked {
  const packet = decode(message);
  if (packet === undefined) {
    const isRequest = message.length >= 2 && message[0] === 0 && (message[1] === 1 || message[1] === 2);
    if (!isRequest) return { ask: "other", malformed: true };
    return { ask: "refused", code: ERROR_CODE.illegalOperation, message: "malformed request", malformed: true };
  }
  if (packet.op === "wrq")
    return { ask: "refused", code: ERROR_CODE.accessViolation, message: "read only", malformed: false };
  if (packet.op !== "rrq") return { ask: "other", malformed: false };
  // netascii is served as octet: what boots is binary, and firmware that says netascii means octet.
  if (packet.mode !== "octet" && packet.mode !== "netascii") {
    return { ask: "refused", code: ERROR_CODE.illegalOperation, message: "unknown mode", malformed: false };
  }
  return { ask: "read", name: packet.name, options: packet.options };
}
