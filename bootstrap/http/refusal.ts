// What an initrd says when it ends its boot (images/host, flynn_refuse): a code of one word, and why, in words. The machine is hostile
// until it joined: what is not plain text of that form is not put on a timeline.
export function refusalOf(body: string): { message: string; detail: { refusal: string } } | undefined {
  const [, refusal, text] = /^([a-z]{1,16}) (\S.{0,299})/.exec(body.slice(0, 400).replace(/[^\x20-\x7e]/g, "?")) ?? [];
  if (refusal === undefined || text === undefined) return undefined;
  return { message: `its initrd refused to boot: ${text.trim()}`, detail: { refusal } };
}
