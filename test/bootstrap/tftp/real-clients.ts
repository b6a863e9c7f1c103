// The TFTP clients people have, as argv. tftp-hpa knows no options: it is the plain RFC 1350 case.

export interface Fetch {
  address: string;
  port: number;
  name: string;
  into: string;
  blksize?: number;
  windowsize?: number;
}

export type RealClient = "curl" | "atftp" | "tftp-hpa";

export function fetchArgv(client: RealClient, { address, port, name, into, blksize, windowsize }: Fetch): string[] {
  switch (client) {
    case "curl": {
      const options = blksize === undefined ? ["--tftp-no-options"] : ["--tftp-blksize", String(blksize)];
      return [
        "curl",
        "-sS",
        "--fail",
        "--max-time",
        "110",
        ...options,
        "-o",
        into,
        `tftp://${address}:${port}/${name}`,
      ];
    }
    case "atftp": {
      const options = [
        ...(blksize === undefined ? [] : ["--option", `blksize ${blksize}`]),
        ...(windowsize === undefined ? [] : ["--option", `windowsize ${windowsize}`]),
        ...(blksize === undefined && windowsize === undefined ? [] : ["--option", "tsize"]),
      ];
      return ["atftp", ...options, "-g", "-r", name, "-l", into, address, String(port)];
    }
    case "tftp-hpa":
      return ["tftp", "-m", "binary", address, String(port), "-c", "get", name, into];
  }
}
