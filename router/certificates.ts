// The certificates of a target as files HAProxy takes: named by their content, so that the same name is always the same
// certificate and "which are loaded" is the whole comparison. One that cannot be used is refused by name, the others serve.
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import type { RouterTarget } from "#api/router-agents.ts";
import { HOST, printable, type Refusal } from "./assignment.ts";

export interface CertificateFile {
  id: string;
  /** Chain and key, no empty line: HAProxy's socket takes one for the end. */
  pem: string;
  names: string[];
}
/** File name, without its directory -> what is in it. */
export type CertificateFiles = Map<string, CertificateFile>;
export const CERTIFICATE_LIST = "certificates.list";
export const CERTIFICATE_DIRECTORY = "certificates";

/** HAProxy reads a command and its payload into one buffer of 16 KiB. */
const PEM_BYTES = 15_000;

type Certificates = NonNullable<RouterTarget["certificates"]>;
interface Looked {
  /** Blocks and nothing between them; absent when it cannot be used. */
  text?: string;
  problem?: string;
  /** Names -> file, for those it was shown for. */
  files: Map<string, string>;
}
export interface CertificateReader {
  /** The files of those that can be used; the others are refused by name. */
  accept(certificates: Certificates | undefined, refused: Refusal[]): Generator<void, CertificateFiles>;
  /** How many were parsed so far. */
  parsed(): number;
}

/** Parses and hashes each chain and key once for as long as targets have it: a turn costs what is new. */
export function certificateReader(): CertificateReader {
  let looked = new Map<string, Looked>();
  let last: { certificates: Certificates | undefined; files: CertificateFiles; refused: Refusal[] } | undefined;
  let parsed = 0;
  const look = (pem: string): Looked => {
    parsed++;
    const text = normalPem(pem);
    const problem = text === undefined ? "it is not PEM as it should be" : problemOf(text);
    return { ...(problem === undefined ? { text: text! } : { problem }), files: new Map() };
  };
  return {
    parsed: () => parsed,
    *accept(certificates, refused) {
      if (last === undefined || last.certificates !== certificates) {
        const kept = new Map<string, Looked>();
        for (const { pem } of certificates ?? []) {
          if (kept.has(pem)) continue;
          if (!looked.has(pem)) yield;
          kept.set(pem, looked.get(pem) ?? look(pem));
        }
        looked = kept;
        const own: Refusal[] = [];
        last = { certificates, files: acceptLooked(certificates ?? [], looked, own), refused: own };
      }
      refused.push(...last.refused);
      return last.files;
    },
  };
}

function acceptLooked(
  certificates: Certificates,
  looked: ReadonlyMap<string, Looked>,
  refused: Refusal[],
): CertificateFiles {
  const files: CertificateFiles = new Map();
  const taken = new Set<string>();
  for (const { id, names, pem } of certificates) {
    const refuse = (why: string) => refused.push({ what: `certificate ${printable(id)}`, why });
    const { text, problem, files: made } = looked.get(pem)!;
    if (problem !== undefined) refuse(problem);
    else if (names.length === 0 || !names.every((name) => HOST.test(name) && name.length <= 253))
      refuse("a name of it is not a host name in lower case");
    else if (names.some((name) => taken.has(name))) refuse("another certificate has a name of it");
    else {
      for (const name of names) taken.add(name);
      const sorted = [...names].sort();
      const key = sorted.join(" ");
      const file = made.get(key) ?? `${createHash("sha256").update(`${key}\n${text}`).digest("hex").slice(0, 32)}.pem`;
      made.set(key, file);
      files.set(file, { id, pem: text!, names: sorted });
    }
  }
  return files;
}

/** Leaves out what HAProxy itself did not take (`rejected`: file -> why), and says so. */
export function withoutRejected<T extends { certificates: CertificateFiles; refused: Refusal[] }>(
  held: T,
  rejected: ReadonlyMap<string, string>,
): T {
  if (rejected.size === 0) return held;
  const refused = [...held.refused];
  const certificates: CertificateFiles = new Map();
  for (const [file, certificate] of held.certificates) {
    const why = rejected.get(file);
    if (why === undefined) certificates.set(file, certificate);
    else refused.push({ what: `certificate ${certificate.id}`, why });
  }
  return { ...held, certificates, refused };
}

/** What to load and what to take out. A file shown for other names than it should be is taken out first and comes back in the next turn. */
export function certificateChanges(
  running: ReadonlyMap<string, string>,
  wanted: CertificateFiles,
): { add: string[]; remove: string[] } {
  return {
    add: [...wanted.keys()].filter((file) => !running.has(file)),
    remove: [...running].flatMap(([file, names]) => (wanted.get(file)?.names.join(" ") === names ? [] : [file])),
  };
}

/** A line of the list: the file and the server names it is shown for. */
export function listEntry(directory: string, file: string, { names }: CertificateFile): string {
  return `${directory}/${CERTIFICATE_DIRECTORY}/${file} ${names.join(" ")}`;
}

/** Blocks of PEM and nothing between them; undefined when it is anything else. */
function normalPem(text: string): string | undefined {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const isPem = lines.every((line) => /^(-----(BEGIN|END) [A-Z ]+-----|[A-Za-z0-9+/=]+)$/.test(line));
  return isPem && lines.length > 0 ? `${lines.join("\n")}\n` : undefined;
}

function problemOf(pem: string): string | undefined {
  if (pem.length > PEM_BYTES) return `chain and key are over ${PEM_BYTES} bytes`;
  try {
    const isOwn = new X509Certificate(pem).checkPrivateKey(createPrivateKey(pem));
    return isOwn ? undefined : "its key is another one's";
  } catch {
    return "it cannot be read";
  }
}
