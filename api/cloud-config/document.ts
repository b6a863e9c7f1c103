// A cloud-config document as typed data, printed as YAML that a YAML 1.1 reader (PyYAML in cloud-init) reads back as the
// same values: "no", "0755", "12:30" and "1.10" stay text.
import { Document, type Tags, visit } from "yaml";

export function renderCloudConfig(document: object): string {
  return `#cloud-config\n${renderYaml(document)}`;
}

/**
 * What PyYAML refuses a whole document for, or breaks lines at: outside of YAML 1.1's printable characters, NEL, LS, PS and the mark of byte
 * order. With `u` a surrogate is matched only alone.
 */
const UNPRINTABLE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]/u;
const UNPRINTABLES = new RegExp(UNPRINTABLE, "gu");
const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Plain, these two are types of their own (yaml.org/type/merge, yaml.org/type/value): PyYAML fails on them. */
const TYPED_IN_1_1 = new Set(["<<", "="]);
/** A tab ends plain text in PyYAML; in a block it stands. */
const PLAIN_TAB = /^[^\n]*\t[^\n]*$/;
/** A block loses blanks of a line that has nothing else. */
const BLANK_LINE = /^[ \t]+$/m;
const needsQuotes = (text: string): boolean =>
  TYPED_IN_1_1.has(text) || [UNPRINTABLE, PLAIN_TAB, BLANK_LINE].some((pattern) => pattern.test(text));

export function renderYaml(value: object): string {
  const customTags = (tags: Tags): Tags =>
    tags.filter((tag) => tag !== "merge" && (tag as { tag?: string }).tag !== MERGE);
  const document = new Document(value, { version: "1.1", customTags });
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value === "string" && needsQuotes(node.value)) node.type = "QUOTE_DOUBLE";
    },
  });
  // What is left of them after that stands in double quotes.
  return document.toString({ lineWidth: 0, doubleQuotedAsJSON: true }).replace(UNPRINTABLES, escaped);
}
const MERGE = "tag:yaml.org,2002:merge";
