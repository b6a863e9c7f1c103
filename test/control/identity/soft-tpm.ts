// What a TPM would answer, by an ordinary key: for joins, whose tokens no recorded quote can be of.
import { generateKeyPairSync, sign } from "node:crypto";
import { quoteNonce, type TpmQuote, tpmIdOf } from "#api/tpm.ts";

export interface SoftTpm {
  id: string;
  quote(token: string): TpmQuote;
}

const sized = (bytes: Buffer): Buffer => Buffer.concat([uint16(bytes.length), bytes]);
const uint16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};

export function softTpm(): SoftTpm {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x, y } = publicKey.export({ format: "jwk" }) as { x: string; y: string };
  const point = [x, y].map((number) => sized(Buffer.from(number, "base64url")));
  const area = sized(
    Buffer.concat([Buffer.from("0023000b0005007200000010", "hex"), Buffer.from("0018000b00030010", "hex"), ...point]),
  );
  return {
    id: tpmIdOf(area),
    quote(token) {
      const nonce = sized(Buffer.from(quoteNonce(token), "hex"));
      const attest = Buffer.concat([
        Buffer.from("ff5443478018", "hex"),
        sized(Buffer.alloc(34)),
        nonce,
        Buffer.alloc(60),
      ]);
      const ieee = sign("sha256", attest, { key: privateKey, dsaEncoding: "ieee-p1363" });
      const halves = [ieee.subarray(0, 32), ieee.subarray(32)].map(sized);
      const signature = Buffer.concat([Buffer.from("0018000b", "hex"), ...halves]);
      const [key, m, s] = [area, attest, signature].map((bytes) => bytes.toString("base64")) as [
        string,
        string,
        string,
      ];
      return { key, attest: m, signature: s };
    },
  };
}
