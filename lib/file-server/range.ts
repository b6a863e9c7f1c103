// One byte range of RFC 9110 section 14. Several ranges in one request are answered with the whole file, as the RFC allows.

export type ByteRange = { kind: "whole" } | { kind: "part"; first: number; last: number } | { kind: "unsatisfiable" };

export function parseRange(header: string | undefined, sizeBytes: number): ByteRange {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "");
  if (!match || (match[1] === "" && match[2] === "")) return { kind: "whole" };
  const [, from, to] = match as unknown as [string, string, string];
  if (from === "") {
    const length = Math.min(Number(to), sizeBytes);
    return length === 0 ? { kind: "unsatisfiable" } : { kind: "part", first: sizeBytes - length, last: sizeBytes - 1 };
  }
  const first = Number(from);
  const last = to === "" ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
  if (to !== "" && Number(to) < first) return { kind: "whole" }; // not a valid range: ignored
  return first >= sizeBytes ? { kind: "unsatisfiable" } : { kind: "part", first, last };
}
