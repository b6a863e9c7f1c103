// A package registry of a test's own, behind TLS that only its own authority vouches for, as a company's intercepting proxy is: one npm
// package (`greeting`) and one Python package of the same name, both made here.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import { type AddressInfo, isIP } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { createGzip } from "node:zlib";
import { pack } from "tar-stream";
import { exec } from "#lib/exec.ts";

export interface PackageRegistry {
  /** https://HOST:PORT, without a slash at its end. */
  url: string;
  /** The authority's certificate, PEM. */
  caFile: string;
  /** Paths asked for, of connections whose client trusted the authority. */
  asked: string[];
  close(): Promise<void>;
}

const VERSION = "1.0.0";

/** A certificate for the address, of the folder's one authority; what is there already is not made again. */
export async function makeAuthority(
  folder: string,
  address: string,
): Promise<{ ca: string; key: string; crt: string }> {
  await mkdir(folder, { recursive: true });
  const at = (name: string) => join(folder, name);
  const openssl = (...argv: string[]) => exec(["openssl", ...argv], { timeoutMs: 20_000 });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
  const [ca, key, crt] = [at("ca.pem"), at(`${address}.key`), at(`${address}.crt`)];
  if (!existsSync(ca))
    await openssl("req", "-x509", ...curve, "-keyout", at("ca.key"), "-out", ca, "-days", "2", "-subj", "/CN=Proxy CA");
  if (existsSync(crt)) return { ca, key, crt };
  await openssl("req", ...curve, "-keyout", key, "-out", at(`${address}.csr`), "-subj", `/CN=${address}`);
  await writeFile(at(`${address}.names`), `subjectAltName=${isIP(address) ? "IP" : "DNS"}:${address}\n`);
  const serial = String(Math.floor(Math.random() * 2 ** 40) + 1);
  const sign = ["-CA", ca, "-CAkey", at("ca.key"), "-set_serial", serial, "-days", "2"];
  await openssl("x509", "-req", "-in", at(`${address}.csr`), "-out", crt, ...sign, "-extfile", at(`${address}.names`));
  return { ca, key, crt };
}

export async function startPackageRegistry(options: {
  folder: string;
  address: string;
  port?: number;
}): Promise<PackageRegistry> {
  const { folder, address, port = 0 } = options;
  const { ca, key, crt } = await makeAuthority(folder, address);
  const [npm, python] = [await npmPackage(), await pythonPackage()];
  const asked: string[] = [];
  const server = createServer({ key: await readFile(key), cert: await readFile(crt) }, (request, response) => {
    const path = request.url ?? "";
    asked.push(path);
    const send = (type: string, body: string | Buffer) => response.writeHead(200, { "content-type": type }).end(body);
    const base = `https://${request.headers.host}`;
    if (path === "/greeting") return send("application/json", JSON.stringify(packument(base, npm)));
    if (path.endsWith(".tgz")) return send("application/octet-stream", npm);
    if (path === "/simple/greeting/")
      return send("text/html", `<a href="/greeting-${VERSION}.tar.gz">greeting-${VERSION}.tar.gz</a>`);
    if (path.endsWith(".tar.gz")) return send("application/octet-stream", python);
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, address, resolve));
  return {
    url: `https://${address}:${(server.address() as AddressInfo).port}`,
    caFile: ca,
    asked,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const digestOf = (bytes: Buffer, algorithm: string, encoding: "hex" | "base64"): string =>
  createHash(algorithm).update(bytes).digest(encoding);

function packument(base: string, tarball: Buffer): object {
  const dist = {
    tarball: `${base}/greeting/-/greeting-${VERSION}.tgz`,
    shasum: digestOf(tarball, "sha1", "hex"),
    integrity: `sha512-${digestOf(tarball, "sha512", "base64")}`,
  };
  const versions = { [VERSION]: { name: "greeting", version: VERSION, dist } };
  return { name: "greeting", "dist-tags": { latest: VERSION }, versions };
}

const npmPackage = (): Promise<Buffer> =>
  archive({
    "package/package.json": JSON.stringify({ name: "greeting", version: VERSION, main: "index.js" }),
    "package/index.js": 'module.exports = "hello from the registry behind the proxy";\n',
  });

const pythonPackage = (): Promise<Buffer> =>
  archive({
    [`greeting-${VERSION}/PKG-INFO`]: `Metadata-Version: 2.1\nName: greeting\nVersion: ${VERSION}\n`,
    [`greeting-${VERSION}/setup.py`]: `from setuptools import setup\nsetup(name="greeting", version="${VERSION}", py_modules=["greeting"])\n`,
    [`greeting-${VERSION}/greeting.py`]: 'TEXT = "hello from the registry behind the proxy"\n',
  });

async function archive(files: Readonly<Record<string, string>>): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) tar.entry({ name, mtime: new Date(0) }, content);
  tar.finalize();
  return await buffer((tar as unknown as NodeJS.ReadableStream).pipe(createGzip()));
}
