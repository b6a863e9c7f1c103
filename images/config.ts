// What the image programs take from the environment: nothing but the reproducible-builds clock and what child
// processes need to run at all.

/** SOURCE_DATE_EPOCH in seconds, when the caller fixes the image's date. */
export function sourceDateEpoch(variables: NodeJS.ProcessEnv = process.env): number | undefined {
  const text = variables["SOURCE_DATE_EPOCH"];
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,11}$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH must be whole seconds, not ${JSON.stringify(text)}`);
  return Number(text);
}

/** A child's environment: fixed language and clock, so that the builder's own settings do not reach the image. */
export function buildEnvironment(epochSeconds: number): NodeJS.ProcessEnv {
  return {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    LC_ALL: "C.UTF-8",
    TZ: "UTC",
    DEBIAN_FRONTEND: "noninteractive",
    // The kernel's package would make an initrd that is thrown away; ours is made later, once (mkinitramfs).
    INITRD: "No",
    SOURCE_DATE_EPOCH: String(epochSeconds),
  };
}
