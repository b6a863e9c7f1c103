// cert: certificates for https. Keys are sent once and never shown again.
import { X509Certificate } from "node:crypto";
import {
  type Certificate,
  createCertificate,
  deleteCertificate,
  getCertificate,
  listCertificates,
  updateCertificate,
} from "#api/certificates.ts";
import type { Client } from "#api/client.ts";
import { Fault, isFault } from "#api/fault.ts";
import { listAll, withCluster } from "../clusters/connect.ts";
import { answer, answerList } from "../output/answer.ts";
import { CONFIRM_FLAGS, confirm } from "../output/confirm.ts";
import { printFacts } from "../output/table.ts";
import type { Command, Flag, Invocation } from "../parse/command.ts";
import { readTextFile } from "../parse/read-file.ts";

export const CERTIFICATE_FLAGS: readonly Flag[] = [
  { name: "cert", value: "FILE", help: "Certificate chain, PEM: the domain's own first, then each issuer" },
  { name: "key", short: "k", value: "FILE", help: "Its private key, PEM, without a passphrase" },
];
const DAY_MS = 86_400_000;

export const certificateCommands: readonly Command[] = [
  {
    words: "cert add",
    summary: "Add a certificate; routers show it for its names at once",
    flags: CERTIFICATE_FLAGS,
    more: "  flynn cert add --cert fullchain.pem --key privkey.pem",
    run: (call) =>
      withCluster(call, async (client) => {
        const body = await neededFiles(call);
        const made = await client.call(createCertificate, { body, signal: call.cli.signal });
        answer(call.cli, made, () => call.cli.print(`Certificate ${made.id} added: ${inWords(made)}`));
      }),
  },
  {
    words: "cert update",
    summary: "Replace a certificate, by its id or a name; nothing is interrupted",
    args: [{ name: "ID", required: true }],
    flags: CERTIFICATE_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const body = await neededFiles(call);
        const params = { id: call.args[0]! };
        const made = await client.call(updateCertificate, { params, body, signal: call.cli.signal });
        answer(call.cli, made, () => call.cli.print(`Certificate ${made.id} replaced: ${inWords(made)}`));
      }),
  },
  {
    words: "cert list",
    summary: "List certificates and when they end",
    run: (call) =>
      withCluster(call, async (client) =>
        answerList(call.cli, await listAll(client, listCertificates, { signal: call.cli.signal }), {
          titles: ["ID", "NAMES", "ENDS", "KEY", "ISSUER"],
          row: (each) => [each.id, each.names.join(" "), ends(each), each.keyType, each.issuer],
          none: "there are no certificates; add one: flynn cert add --cert FILE --key FILE",
        }),
      ),
  },
  {
    words: "cert show",
    summary: "Show a certificate, by its id or a name; never its key",
    args: [{ name: "ID", required: true }],
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const found = await client.call(getCertificate, { params: { id: call.args[0]! }, signal: cli.signal });
        answer(cli, found, () =>
          printFacts(cli, [
            ["ID", found.id],
            ["Names", found.names.join(" ")],
            ["Valid", `${found.notBefore} to ${found.notAfter} (${ends(found)})`],
            ["Issuer", found.issuer],
            ["Key", found.keyType],
            ["Chain", `${found.chainLength} certificates`],
            ["SHA-256", found.sha256],
            ["Added", found.createdAt],
            ["Changed", found.updatedAt],
          ]),
        );
      }),
  },
  {
    words: "cert remove",
    summary: "Remove a certificate and its key",
    args: [{ name: "ID", required: true }],
    flags: CONFIRM_FLAGS,
    run: (call) =>
      withCluster(call, async (client) => {
        const { cli } = call;
        const id = call.args[0]!;
        const { names } = await client.call(getCertificate, { params: { id }, signal: cli.signal });
        await confirm(call, id, `https of ${names.join(", ")} gets a certificate that no browser trusts.`);
        await client.call(deleteCertificate, { params: { id }, signal: cli.signal });
        answer(cli, { id }, () => cli.print(`Certificate ${id} removed.`));
      }),
  },
];

export type CertificateFiles = { chain: string; key: string };

/** What --cert and --key name; undefined when neither is given. */
export async function certificateFiles(call: Invocation): Promise<CertificateFiles | undefined> {
  const [cert, key] = [call.text("cert"), call.text("key")];
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) throw new Fault("invalid", "--cert FILE and --key FILE belong together");
  return { chain: await readTextFile(cert, call.cli.cwd), key: await readTextFile(key, call.cli.cwd) };
}

async function neededFiles(call: Invocation): Promise<CertificateFiles> {
  const files = await certificateFiles(call);
  if (files === undefined) throw new Fault("invalid", "give the certificate and its key: --cert FILE --key FILE");
  return files;
}

/** Added, or put in the place of the one whose names it has, all of them: a renewal. */
export async function addOrReplace(client: Client, body: CertificateFiles, signal: AbortSignal): Promise<Certificate> {
  try {
    return await client.call(createCertificate, { body, signal });
  } catch (error) {
    const id = isFault(error, "conflict") ? error.details?.["certificate"] : undefined;
    if (typeof id !== "string") throw error;
    const { names } = await client.call(getCertificate, { params: { id }, signal });
    const covered = new X509Certificate(body.chain).subjectAltName?.toLowerCase().split(", ") ?? [];
    if (!names.every((name) => covered.includes(`dns:${name}`))) throw error;
    return await client.call(updateCertificate, { params: { id }, body, signal });
  }
}

const inWords = (each: Certificate) => `${each.names.join(", ")}, until ${each.notAfter.slice(0, 10)}`;

function ends({ notAfter }: Certificate, nowMs = Date.now()): string {
  const days = Math.floor((Date.parse(notAfter) - nowMs) / DAY_MS);
  return days < 0 ? `ended ${notAfter.slice(0, 10)}` : `in ${days} days`;
}
