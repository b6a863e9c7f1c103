// How long control's own certificates last.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { controlCertificates } from "../../../control/alerts/own-certificates.ts";
import { makeCertificate } from "../routing/certificates.ts";

test("the API's certificate and the authority's are told apart, each with its own life", async () => {
  const [from, to] = [new Date("2026-01-01T00:00:00.000Z"), new Date("2027-01-01T00:00:00.000Z")];
  const ca = await makeCertificate({ ca: true, from, to: new Date("2036-01-01T00:00:00.000Z") });
  const api = await makeCertificate({ names: ["control"], from, to });
  const notBefore = from.toISOString();
  assert.equal(controlCertificates(api.certificate, ca.certificate), [
    { id: "control", name: "the API", of: "control", notBefore, notAfter: to.toISOString() },
    {
      id: "ca",
      name: "the cluster's certificate authority",
      of: "control",
      notBefore,
      notAfter: "2036-01-01T00:00:00.000Z",
    },
  ]);
});

test.run();
