// How hosts that booted from the network give their root image on to machines beside them: plain HTTP on the boot network, by content
// hash, which the initrd of whoever boots checks before it mounts anything.
export const IMAGE_PEER_PORT = 7781;

export const imagePeerPath = (sha256: string): string => `/a/sha256-${sha256}/root.squashfs`;

/** The hash in the URL of a root image, such as a kernel's `fetch=` word. */
export const squashfsOfUrl = (url: string): string | undefined =>
  /\/a\/sha256-([0-9a-f]{64})\/root\.squashfs$/.exec(url)?.[1];
