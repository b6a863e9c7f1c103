// Alerts of certificates near their end: those that people brought, and the cluster's own, which renew themselves at two thirds
// of their life, so that one in its last quarter says that renewal fails.
import type { AlertRule, AlertView, CertificateLife, WantedAlert } from "../rule.ts";

const DAY_MS = 86_400_000;
const WARN_MS = 14 * DAY_MS;
const CRITICAL_MS = 3 * DAY_MS;

interface Life {
  notBefore: string;
  notAfter: string;
}

/** Undefined while there is time. Short lives scale the times: a certificate of six days is not near its end at once. */
export function nearEnd({ notBefore, notAfter }: Life, nowMs: number): WantedAlert["severity"] | undefined {
  const [from, to] = [Date.parse(notBefore), Date.parse(notAfter)];
  const leftMs = to - nowMs;
  if (leftMs <= Math.min(CRITICAL_MS, (to - from) / 10)) return "critical";
  return leftMs <= Math.min(WARN_MS, (to - from) / 4) ? "warning" : undefined;
}

const ending = (notAfter: string, nowMs: number): string => {
  const days = Math.floor((Date.parse(notAfter) - nowMs) / DAY_MS);
  if (Date.parse(notAfter) <= nowMs) return `ended at ${notAfter}`;
  return days < 1 ? `ends today, at ${notAfter}` : `ends in ${days} ${days === 1 ? "day" : "days"}`;
};

export const certificateEnds: AlertRule = {
  kind: "certificate-ends",
  raiseAfterMs: 0,
  clearAfterMs: 0,
  all: "flynn cert list",
  wanted: ({ certificates, nowMs }) =>
    certificates.flatMap(({ id, names, notBefore, notAfter }): WantedAlert[] => {
      const severity = nearEnd({ notBefore, notAfter }, nowMs);
      if (severity === undefined) return [];
      const [name = id] = names;
      return [
        {
          subject: { kind: "certificate", id, name },
          severity,
          what: `the certificate of ${name} ${ending(notAfter, nowMs)}`,
          why: `clients refuse ${names.length > 1 ? `${name} and ${names.length - 1} more names` : name} from then on; replace it, nothing is interrupted`,
          next: `flynn cert update ${id} --cert fullchain.pem --key privkey.pem`,
        },
      ];
    }),
};

const wantedOf = (
  { ownCertificates, nowMs }: AlertView,
  of: (life: CertificateLife) => boolean,
  words: (life: CertificateLife) => Pick<WantedAlert, "why" | "next">,
): WantedAlert[] =>
  ownCertificates.filter(of).flatMap((life): WantedAlert[] => {
    const severity = nearEnd(life, nowMs);
    if (severity === undefined) return [];
    const { id, name } = life;
    const what = `the certificate of ${life.of === "control" ? name : `${life.of.replace("-", " ")} ${name}`} ${ending(life.notAfter, nowMs)}`;
    return [{ subject: { kind: life.of, id, name }, severity, what, ...words(life) }];
  });

export const memberCertificateEnds: AlertRule = {
  kind: "member-certificate-ends",
  raiseAfterMs: 60_000,
  clearAfterMs: 60_000,
  all: "flynn host list",
  wanted: (view) =>
    wantedOf(
      view,
      ({ of }) => of !== "control",
      ({ of, name }) => ({
        why: "it should have been renewed at two thirds of its life and was not: look at that machine's log and clock. Without a certificate it has to join again",
        next: of === "host" ? `flynn host show ${name}` : of === "router" ? "flynn router list" : "flynn status",
      }),
    ),
};

export const controlCertificateEnds: AlertRule = {
  kind: "control-certificate-ends",
  raiseAfterMs: 60_000,
  clearAfterMs: 60_000,
  all: "flynn status",
  wanted: (view) =>
    wantedOf(
      view,
      ({ of }) => of === "control",
      () => ({
        why: "it is issued anew at each start and at two thirds of its life: look at the appliance's log and clock, and start it again. Once it has ended nothing reaches control",
        next: "flynn status",
      }),
    ),
};
