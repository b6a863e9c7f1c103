// Certificates on disk and in the running HAProxy, without a reload: a new one is loaded, and one that HAProxy does not take
// is said by name and left out. On disk first come the files, then the list, so that a start finds what the list names.
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { readText, writeFileAtomic } from "#lib/files.ts";
import {
  CERTIFICATE_DIRECTORY,
  CERTIFICATE_LIST,
  type CertificateFile,
  type CertificateFiles,
  listEntry,
} from "./certificates.ts";
import { ask } from "./runtime.ts";

/** HAProxy's own no to one certificate. Any other error says nothing about it. */
class CertificateRefused extends Error {}

export interface CertificateStore {
  /** Writes the files that are not there yet. */
  write(certificates: CertificateFiles): Promise<void>;
  /** Removes files that nothing names any more. */
  sweep(certificates: CertificateFiles): Promise<void>;
  /** Answers why HAProxy does not take it; nothing of it is left then. */
  load(file: string, certificate: CertificateFile): Promise<string | undefined>;
  unload(file: string): Promise<void>;
  /** Files written so far: a key goes to the disk when it is new. */
  written(): number;
}

export function certificateStore(directory: string, socketPath: string): CertificateStore {
  const folder = join(directory, CERTIFICATE_DIRECTORY);
  const list = join(directory, CERTIFICATE_LIST);
  const known = new Set<string>();
  let lastWritten: CertificateFiles | undefined;
  let written = 0;

  const tell = async (command: string, isDone: RegExp): Promise<void> => {
    const reply = await ask(socketPath, command);
    if (!isDone.test(reply)) throw new CertificateRefused(reply.trim().split("\n").slice(0, 2).join(" ").slice(0, 200));
  };
  const forget = async (path: string) => {
    await ask(socketPath, `abort ssl cert ${path}; del ssl crt-list ${list} ${path}; del ssl cert ${path}`);
  };
  return {
    async write(certificates) {
      if (certificates === lastWritten) return;
      await mkdir(folder, { recursive: true, mode: 0o700 });
      for (const [file, { pem }] of certificates) {
        if (known.has(file)) continue;
        if ((await readText(join(folder, file))) !== pem) {
          await writeFileAtomic(join(folder, file), pem, { mode: 0o600 });
          written++;
        }
        known.add(file);
      }
      lastWritten = certificates;
    },
    written: () => written,
    async sweep(certificates) {
      lastWritten = undefined;
      const files = await readdir(folder).catch(() => []);
      for (const file of files) {
        if (certificates.has(file)) continue;
        await rm(join(folder, file), { force: true });
        known.delete(file);
      }
    },
    async load(file, certificate) {
      const path = join(folder, file);
      try {
        await ask(socketPath, `new ssl cert ${path}`); // "already exists" after a broken attempt: it is filled all the same
        await tell(`set ssl cert ${path} <<\n${certificate.pem}`, /^Transaction (created|updated)/m);
        await tell(`commit ssl cert ${path}`, /^Success!/m);
        await tell(`add ssl crt-list ${list} <<\n${listEntry(directory, file, certificate)}\n`, /^Success!/m);
        return undefined;
      } catch (error) {
        if (!(error instanceof CertificateRefused)) throw error;
        await forget(path);
        return error.message;
      }
    },
    async unload(file) {
      const path = join(folder, file);
      await tell(`del ssl crt-list ${list} ${path}`, /deleted in crtlist/);
      await tell(`del ssl cert ${path}`, /deleted/);
    },
  };
}
