// HTML that means the same in printable ASCII on one line: routers answer it from a map of HAProxy, which passes on nothing
// else as it is. Characters become references (in style sheets, escapes); line ends become spaces where they mean no more.

const PARTS = /<(style|pre|textarea)\b[^>]*>[\s\S]*?<\/\1\s*>/gi;

export function asciiHtml(html: string): string {
  const text = html.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
  let ascii = "";
  let from = 0;
  for (const part of text.matchAll(PARTS)) {
    ascii += plain(text.slice(from, part.index));
    ascii += part[1]!.toLowerCase() === "style" ? styleSheet(part[0]) : preformatted(part[0]);
    from = part.index + part[0].length;
  }
  return ascii + plain(text.slice(from));
}

const reference = (character: string) => `&#${character.codePointAt(0)};`;
const plain = (text: string) => text.replace(/[\n\t]+/g, " ").replace(/[^\x20-\x7e]/gu, reference);
const preformatted = (text: string) => text.replace(/[^\x20-\x7e]/gu, reference);
const styleSheet = (text: string) =>
  text
    .replace(/[\n\t]+/g, " ")
    .replace(/[^\x20-\x7e]/gu, (character) => `\\${character.codePointAt(0)!.toString(16)} `);
