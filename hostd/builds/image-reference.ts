// Image names of a Dockerfile, spelled out: never a local image id, a tag always said, and the registry they come from.
// Grammar of the distribution project's reference package, the part of it that people write.
import { createHash } from "node:crypto";

export interface ImageReference {
  /** host[:port] */
  domain: string;
  path: string;
  tag?: string;
  digest?: string;
}

const COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const REFERENCE = new RegExp(
  `^(${COMPONENT}(?:/${COMPONENT})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`,
);
const DOMAIN = /^[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d{1,5})?$/;
export const DEFAULT_DOMAIN = "docker.io";

export function parseReference(text: string): ImageReference | undefined {
  if (text.length > 512) return undefined;
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first.toLowerCase() === "localhost" || first !== first.toLowerCase();
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const match = REFERENCE.exec(isDomain ? text.slice(slash + 1) : text);
  if (match === null || !DOMAIN.test(domain)) return undefined;
  const [, path = "", tag, digest] = match;
  const hub = domain === DEFAULT_DOMAIN || domain === "index.docker.io";
  return {
    domain: hub ? DEFAULT_DOMAIN : domain,
    path: hub && !path.includes("/") ? `library/${path}` : path,
    ...(digest === undefined ? { tag: tag ?? "latest" } : { digest }),
  };
}

const BASE_NAME = /^base\.invalid\/[0-9a-f]{40}:/;
/** A name that hostd gave a base image, with its tag. */
export const isBaseName = (ref: string): boolean => BASE_NAME.test(ref);

const CACHE_NAME = /^cache\.invalid\/[0-9a-f]{40}:latest$/;
/** Known by nothing but the name that keeps it as an app's cache: to no app, and to no person. */
export const isUnnamed = (refs: readonly string[]): boolean => refs.every((ref) => CACHE_NAME.test(ref));

/** Under this name the image that an app's last Dockerfile build made stays, and with it what the next build begins with. */
export const cacheName = (cacheKey: string): string =>
  `cache.invalid/${createHash("sha256").update(cacheKey).digest("hex").slice(0, 40)}`;

/**
 * What Docker knows a base image by once hostd has fetched it. No name under `.invalid` stands for a machine (RFC 6761), so Docker itself
 * fetches nothing, also when the image has gone meanwhile.
 */
export const localName = (reference: ImageReference): string =>
  `base.invalid/${createHash("sha256").update(formatReference(reference)).digest("hex").slice(0, 40)}`;

export const formatReference = ({ domain, path, tag, digest }: ImageReference): string =>
  digest === undefined ? `${domain}/${path}:${tag}` : `${domain}/${path}@${digest}`;
