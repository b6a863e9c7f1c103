// How much one client may ask of a route: counters by route and address, of bounded size, and the 429 (RFC 6585 4). They begin anew at a
// reload, and each router has its own.

/** Letter in the routes map -> how long is counted. A counter is about 250 bytes; when all are in use the oldest goes. */
const PERIODS = [
  { letter: "s", name: "second", words: "a second", seconds: 1, counters: 50_000 },
  { letter: "m", name: "minute", words: "a minute", seconds: 60, counters: 50_000 },
  { letter: "h", name: "hour", words: "an hour", seconds: 3_600, counters: 50_000 },
] as const;

export const rateTables = (): string =>
  PERIODS.map(
    ({ name, seconds, counters }) =>
      `backend rates_${name} from common\n  stick-table type string len 64 size ${counters} expire ${seconds * 2}s store gpc0,gpc0_rate(${seconds}s)\n`,
  ).join("\n");

/** In a backend, so that the log has them as requests of its app. The last rules: nothing follows for a route without a rate. */
export function rateRules(): string[] {
  return [
    "http-request allow unless { var(txn.rate) -m len gt 0 }",
    "http-request set-var(txn.most) var(txn.rate),field(2,.)",
    "http-request set-var(txn.address) src,ipmask(32,64)",
    "http-request set-var(txn.counted) var(txn.rate),field(3,.),concat(-,txn.address)",
    ...PERIODS.flatMap(({ letter, name, words, seconds }) => [
      `http-request track-sc1 var(txn.counted) table rates_${name} if { var(txn.rate) -m beg ${letter} }`,
      `http-request return status 429 content-type text/plain hdr retry-after ${seconds} lf-string "too many requests from your address: this route takes %[var(txn.most)] ${words}\\n" if { var(txn.rate) -m beg ${letter} } { sc_gpc0_rate(1,rates_${name}),sub(txn.most) ge 0 }`,
    ]),
    "# What was refused does not count: who goes on asking has his share all the same.",
    "http-request sc-inc-gpc0(1)",
  ];
}
