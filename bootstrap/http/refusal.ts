// What an initrd says when it ends its boot (images/host, flynn_refuse): a code of one word, and why, in words. The machine is hostile
// until it joined: what is not plain text of that form is not put on a timeline.
import type { BootCode } from "#api/boot-codes.ts";

/** Two of its codes stand for several causes, told apart by their words. */
const CODES: readonly (readonly [refusal: string, text: RegExp, code: BootCode])[] = [
  ["memory", /^/, "initrd-memory"],
  ["network", /^no network port/, "initrd-no-port"],
  ["network", /^/, "initrd-no-address"],
  ["fetch", /^/, "initrd-fetch"],
  ["image", /not the one this initrd belongs to/, "initrd-hash"],
  ["image", /^/, "initrd-image"],
];

export function refusalOf(body: string): { message: string; detail: { refusal: string; code?: BootCode } } | undefined {
  const [refusal, text] = codeAndText(body) ?? [];
  if (refusal === undefined || text === undefined) return undefined;
  const code = CODES.find(([of, words]) => of === refusal && words.test(text))?.[2];
  return {
    message: `its initrd refused to boot: ${text}`,
    detail: { refusal, ...(code === undefined ? {} : { code }) },
  };
}

const AGENT_CODES: Readonly<Record<string, BootCode>> = {
  unreachable: "agent-unreachable",
  clock: "agent-clock",
  certificate: "agent-certificate",
  version: "agent-version",
  refused: "agent-refused",
};

/** Why an agent is no member yet, in the same form. */
export function agentTroubleOf(body: string): { message: string; detail: { code: BootCode } } | undefined {
  const [trouble, text] = codeAndText(body) ?? [];
  const code = trouble !== undefined && Object.hasOwn(AGENT_CODES, trouble) ? AGENT_CODES[trouble] : undefined;
  return code === undefined || text === undefined
    ? undefined
    : { message: `its agent cannot join: ${text}`, detail: { code } };
}

function codeAndText(body: string): [string, string] | undefined {
  const [, code, text] = /^([a-z]{1,16}) (\S.{0,299})/.exec(body.slice(0, 400).replace(/[^\x20-\x7e]/g, "?")) ?? [];
  return code === undefined || text === undefined ? undefined : [code, text.trim()];
}
