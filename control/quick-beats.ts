// Beats before the framework: thousands come each second, and most of what a request costs is made for others. A sound one from the host
// that it is of is answered here; anything else about it is the mounted endpoint's to refuse, in its words.
import type { IncomingMessage, ServerResponse } from "node:http";
import { Ajv } from "ajv";
import { FAULTS, type Fault, toFault } from "#api/fault.ts";
import { beatHost, type HostBeat } from "#api/host-agents.ts";
import { pruneUnknown } from "#api/prune.ts";
import { formatHello, HELLO_HEADER } from "#api/version.ts";
import type { Log } from "#lib/log.ts";
import { causeChain } from "#lib/run.ts";
import { asFault, newRequestId } from "./faults.ts";
import type { Hellos } from "./hello.ts";
import { authorize, identify } from "./identity/principal.ts";
import type { Call } from "./mount.ts";
import type { Store } from "./store/store.ts";

type Beat = typeof beatHost;
export type AnswerBeat = (
  call: Pick<Call<Beat>, "params" | "body">,
) => Promise<{ term: number; seq: number; known: boolean; everyMs: number }>;

const PATH = /^\/v1\/hosts\/([A-Za-z0-9._-]{1,64})\/beat$/;
const BODY_MOST_BYTES = 1_024;

/** True when the request is answered here, now or soon. */
export type Quick = (request: IncomingMessage, response: ServerResponse) => boolean;

export function quickBeats(
  answer: AnswerBeat,
  { store, hellos, log }: { store: Store; hellos: Hellos; log: Log },
): Quick {
  const isBeat = new Ajv({ strict: false, validateSchema: false, verbose: true }).compile<HostBeat>(beatHost.body!);
  const own = formatHello(hellos.own);
  const send = (response: ServerResponse, requestId: string, status: number, reply: unknown): void => {
    const text = JSON.stringify(reply);
    response.writeHead(status, {
      "content-type": "application/json; charset=utf-8",
      "content-length": Buffer.byteLength(text),
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
      "x-request-id": requestId,
      [HELLO_HEADER]: own,
    });
    response.end(text);
  };
  const refuse = (response: ServerResponse, requestId: string, fault: Fault): void => {
    const { code, message, retry } = fault;
    if (code === "internal") log.error({ requestId, causes: causeChain(fault) }, "a beat failed");
    send(response, requestId, FAULTS[code].status, { code, message, requestId, retry });
  };
  const bodyOf = (text: string): HostBeat => {
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      throw asFault({ code: "FST_ERR_CTP_INVALID_JSON_BODY", message: "" });
    }
    pruneUnknown(beatHost.body, body);
    if (!isBeat(body)) throw asFault({ message: "", validation: isBeat.errors, validationContext: "body" });
    return body;
  };

  return (request, response) => {
    const { headers, method, url = "" } = request;
    const id = method === "POST" ? PATH.exec(url)?.[1] : undefined;
    if (id === undefined || headers.authorization !== undefined || headers["content-type"] !== "application/json")
      return false;
    if (!(Number(headers["content-length"]) <= BODY_MOST_BYTES)) return false;
    try {
      const principal = identify(request, store);
      authorize(principal, beatHost, { id });
      hellos.admit(headers, principal, beatHost);
    } catch {
      return false; // refused again where it is mounted
    }
    const requestId = newRequestId(headers["x-request-id"]);
    let text = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => {
      text += chunk;
    });
    request.on("error", () => undefined); // the caller has gone
    request.once("end", async () => {
      try {
        send(response, requestId, beatHost.status, await answer({ params: { id }, body: bodyOf(text) }));
      } catch (error) {
        refuse(response, requestId, toFault(error, "beat"));
      }
    });
    return true;
  };
}
