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

/**
 * What a package installer of the stack's build takes from this machine: where its registry is and how to get there. Its
 * own settings file is read as well, as this machine's npm reads it.
 */
export function installerEnvironment(variables: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const wanted =
    /^(PATH|HOME|npm_config_registry|PIP_INDEX_URL|PIP_EXTRA_INDEX_URL|PIP_TRUSTED_HOST|(https?|no)_proxy)$/i;
  const taken = Object.entries(variables).filter(([name]) => wanted.test(name));
  return { ...Object.fromEntries(taken), LC_ALL: "C.UTF-8" };
}
