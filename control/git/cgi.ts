// The head of a CGI answer (RFC 3875, 6): header lines until an empty one; `Status` says the code.

export interface CgiHead {
  status: number;
  headers: [string, string][];
  /** First byte of the body. */
  bodyAt: number;
}

const HEAD_MOST_BYTES = 16_384;

/** The head, or undefined while it is not whole; throws on what no CGI program says. */
export function parseCgiHead(bytes: Buffer): CgiHead | undefined {
  const match = /\r?\n\r?\n/.exec(bytes.toString("latin1", 0, HEAD_MOST_BYTES));
  if (match === null) {
    if (bytes.length >= HEAD_MOST_BYTES) throw new Error("a CGI head that does not end");
    return undefined;
  }
  const headers: [string, string][] = [];
  let status = 200;
  for (const line of bytes.toString("latin1", 0, match.index).split(/\r?\n/)) {
    const [, name, value] = /^([A-Za-z0-9-]{1,64}):[ \t]*(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error("a CGI header that is none");
    if (name.toLowerCase() === "status") status = Number(/^\d{3}/.exec(value)?.[0] ?? 500);
    else headers.push([name.toLowerCase(), value]);
  }
  return { status, headers, bodyAt: match.index + match[0].length };
}
