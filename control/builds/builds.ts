// What the rest of control may ask of builds: git and the API make them, hosts run them.
import type { Readable } from "node:stream";
import type { Build, BuildLogChunk } from "#api/builds.ts";
import type { Staging } from "../deploy/record.ts";
import type { Idempotent } from "../http/idempotency-key.ts";

export interface BuildRequest {
  appId: string;
  /** A tar archive (plain or gzipped) of the source tree. It is read to its end, checked and kept before this resolves. */
  source: Readable;
  type: Build["source"]["type"];
  commit?: string;
  ref?: string;
  by: string;
  /** How its deployment goes on; left out: to its end. */
  staging?: Staging;
  /** Bytes that the source was kept in before, compressed; left out: those that are sent. What it unpacks to is measured by it. */
  packedBytes?: number;
  signal: AbortSignal;
  /** Asked when the image is there and nothing is deployed yet: a Fault ends the build with its words. Not asked after a restart of control. */
  admit?: () => Promise<void>;
  /** The same key again gives the build that it made first. */
  /** By the digest of its source. */
  idempotent?: (sourceSha256: string) => Idempotent;
}

export interface Builds {
  /** Queues a build. Faults in the user's words: `invalid` (the source is not sound), `too-large`, `rate-limited`, `unavailable`. */
  create(requested: BuildRequest): Promise<Build>;
  get(appId: string, id: string): Build | undefined;
  /** The log from `offset` on, then as it grows, to the end of the build; a chunk with empty text now and then keeps a silent line open. */
  follow(appId: string, id: string, options: { offset?: number; signal: AbortSignal }): AsyncIterable<BuildLogChunk>;
  cancel(appId: string, id: string, by: string): Promise<Build>;
}
