// Who loads a root image from where, as a whole: hosts that have it (root-peers), and places (root-sources).
import type { Source } from "./identity/sight.ts";
import type { Tokens } from "./identity/tokens.ts";
import type { Images, VerifiedImage } from "./images.ts";
import { rootPeers } from "./root-peers.ts";
import { type RootSource, rootSources } from "./root-sources.ts";

export interface RootImages {
  from(image: VerifiedImage, mac: string, source: Source, approved: boolean): Promise<RootSource>;
  done(mac: string): void;
  /** These boots have joined. */
  joined(bootIds: readonly string[]): void;
}

export function rootImages({
  tokens,
  images,
}: {
  tokens: Pick<Tokens, "boots">;
  images: Pick<Images, "get">;
}): RootImages {
  const sources = rootSources();
  const peers = rootPeers({
    boots: tokens.boots,
    squashfsOf: (imageId) => images.get(imageId)?.manifest.squashfs.sha256,
  });
  return {
    async from({ manifest }, mac, source, approved) {
      // Behind a relay nobody of ours is beside it.
      const near = source.relay === undefined ? await peers.of(manifest.squashfs.sha256, source.address) : [];
      return sources.take(mac, near, approved);
    },
    done: sources.done,
    joined(bootIds) {
      const over = new Set(bootIds);
      for (const { bootId, mac } of tokens.boots()) if (over.has(bootId)) sources.done(mac);
    },
  };
}
