// How whoever owns control's state directory gets a new admin token: the digest of one, put there as a file, is taken up by the control
// that runs there. Who can write that file can read the CA's key as well; nothing of it goes over the network.
import { createHash } from "node:crypto";

/** In control's state directory. Gone as soon as the token is good. */
export const LOCAL_TOKEN_FILE = "new-admin-token.json";

export interface LocalToken {
  /** Of the token, hex. */
  sha256: string;
}

export function localToken(token: string): LocalToken {
  return { sha256: createHash("sha256").update(token).digest("hex") };
}
