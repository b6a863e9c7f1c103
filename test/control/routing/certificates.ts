// Certificates for tests, made by openssl: a root, an issuer below it, and what somebody would upload.
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "#lib/exec.ts";

export interface Made {
  certificate: string;
  key: string;
}
export interface Wish {
  names?: string[];
  /** Signs it; itself when absent. */
  by?: Made;
  ca?: boolean;
  /** openssl genpkey's, such as `["rsa", "rsa_keygen_bits:2048"]`. */
  key?: [string, string];
  digest?: string;
  days?: number;
  /** Seconds since 1970; openssl's own choice when absent. */
  from?: Date;
  to?: Date;
  usage?: string;
  subject?: string;
}

const EC: [string, string] = ["EC", "ec_paramgen_curve:prime256v1"];

export async function makeCertificate(wish: Wish): Promise<Made> {
  const { names = [], by, ca = false, key = EC, digest = "sha256", usage = "serverAuth" } = wish;
  const directory = await mkdtemp(join(tmpdir(), "certificate-"));
  const at = (name: string) => join(directory, name);
  const openssl = (...argv: string[]) => exec(["openssl", ...argv], { timeoutMs: 20_000 });
  try {
    const subject = wish.subject ?? `/CN=${names[0] ?? (ca ? "Test CA" : "nobody")}`;
    await openssl("genpkey", "-algorithm", key[0], "-pkeyopt", key[1], "-out", at("key"));
    const extensions = [
      `basicConstraints=critical,CA:${ca ? "TRUE" : "FALSE"}`,
      ...(ca ? [] : [`extendedKeyUsage=${usage}`]),
      ...(names.length > 0 ? [`subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}`] : []),
    ];
    await writeFile(at("ext"), `[e]\n${extensions.join("\n")}\n`);
    await writeFile(at("cnf"), CA_CONFIG(directory, digest));
    await writeFile(at("serial"), `01${randomBytes(8).toString("hex")}\n`);
    await writeFile(at("index"), "");
    await writeFile(at("index.attr"), "unique_subject = no\n");
    await openssl("req", "-new", "-key", at("key"), "-subj", subject, "-out", at("csr"), `-${digest}`);
    await writeFile(at("by.key"), by?.key ?? (await readFile(at("key"))));
    if (by) await writeFile(at("by.pem"), by.certificate);
    const from = wish.from ?? new Date(Date.now() - 3_600_000);
    const to = wish.to ?? new Date(Date.now() + (wish.days ?? 30) * 86_400_000);
    await openssl(
      ...["ca", "-batch", "-notext", "-config", at("cnf"), "-in", at("csr"), "-out", at("pem")],
      ...["-keyfile", at("by.key"), ...(by ? ["-cert", at("by.pem")] : ["-selfsign"]), "-md", digest],
      ...["-startdate", stamp(from), "-enddate", stamp(to), "-extfile", at("ext"), "-extensions", "e"],
    );
    return { certificate: await readFile(at("pem"), "utf8"), key: await readFile(at("key"), "utf8") };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const stamp = (date: Date) => `${date.toISOString().replace(/[-:T]|\.\d+/g, "")}`;

const CA_CONFIG = (directory: string, digest: string) => `[ca]
default_ca = c
[c]
database = ${join(directory, "index")}
new_certs_dir = ${directory}
default_md = ${digest}
policy = p
unique_subject = no
serial = ${join(directory, "serial")}
[p]
commonName = supplied
`;
