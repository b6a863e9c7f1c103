// What may stand where a buildpack is named: one of ours, a git address with an optional #ref, an archive's address. Parsed
// strictly, since it goes to git and curl: no address that runs a program, reads this container or needs a key.

export const builtIn = ["ruby", "nodejs", "python", "go", "static", "procfile"] as const;
export type BuiltIn = (typeof builtIn)[number];

export type Reference =
  | { kind: "built-in"; name: BuiltIn; shown: string }
  | { kind: "git"; url: string; ref?: string; shown: string }
  | { kind: "archive"; url: string; compressed: boolean; shown: string }
  | { kind: "refused"; why: string };

const REF = /^(?!.*\.\.)(?!.*\/\/)[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}$/;
const ARCHIVE = /\.(tgz|tar\.gz|tar)$/i;
const LONGEST = 1024;

export function parseReference(text: string): Reference {
  const refuse = (why: string): Reference => ({ kind: "refused", why });
  if (text === "" || text.length > LONGEST) return refuse("a buildpack is named by 1 to 1024 characters");
  if (!/^[\x21-\x7e]+$/.test(text)) return refuse("a buildpack's address is plain characters without spaces");
  if (text.startsWith("-")) return refuse("a buildpack's address does not begin with -");
  const own = /^(?:flynn\/|heroku\/)?([a-z]+)$/.exec(text)?.[1];
  if (own !== undefined) {
    const name = builtIn.find((each) => each === own);
    return name === undefined
      ? refuse(`this stack has no buildpack ${own}; it has ${builtIn.join(", ")}, and takes an https address`)
      : { kind: "built-in", name, shown: name };
  }
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(text)?.[1]?.toLowerCase();
  if (text.includes("::")) return refuse("addresses that name a program to run (`ext::` and its like) are refused");
  if (scheme === "ssh" || scheme === "git+ssh" || (scheme === undefined && /^[^/]*@[^/]*:/.test(text)))
    return refuse("a build holds no SSH key; use the https address");
  if (scheme === undefined || !["https", "http", "git"].includes(scheme))
    return refuse("a buildpack's address begins with https://, http:// or git://");
  return parseAddress(text, refuse);
}

function parseAddress(text: string, refuse: (why: string) => Reference): Reference {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.hostname === "" || !text.toLowerCase().startsWith(`${url.protocol}//`))
    return refuse("that is no address");
  if (url.hostname.startsWith("-")) return refuse("a host's name does not begin with -");
  const ref = decodeRef(url.hash.slice(1));
  url.hash = "";
  const shown = masked(url);
  const archive = ARCHIVE.exec(url.pathname);
  if (archive && url.protocol !== "git:") {
    if (ref !== "") return refuse("an archive has no #ref");
    return { kind: "archive", url: url.href, compressed: archive[1]!.toLowerCase() !== "tar", shown };
  }
  if (/\.(zip|tar\.(xz|bz2|zst))$/i.test(url.pathname)) return refuse("an archive is a .tgz, .tar.gz or .tar");
  if (ref === undefined || (ref !== "" && !REF.test(ref)))
    return refuse("the part after # is a branch, a tag or a commit");
  if (ref === "") return { kind: "git", url: url.href, shown };
  return { kind: "git", url: url.href, ref, shown: `${shown}#${ref}` };
}

function decodeRef(hash: string): string | undefined {
  try {
    return decodeURIComponent(hash);
  } catch {
    return undefined;
  }
}

/** For people to read: a password or token in the address is not shown. */
function masked(url: URL): string {
  const copy = new URL(url.href);
  if (copy.username !== "") copy.username = copy.password === "" ? "***" : copy.username;
  if (copy.password !== "") copy.password = "***";
  copy.search = copy.search === "" ? "" : "?...";
  return copy.href;
}

/** Lines of a `.buildpacks` file. */
export function parseBuildpacksFile(text: string): string[] {
  return text
    .replace(/^\ufeff/, "")
    .split(/\r\n|\n|\r/)
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}
