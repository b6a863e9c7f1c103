// A cloud-config document as typed data, printed as YAML that a YAML 1.1 reader (PyYAML in cloud-init) reads back as the
// same values: "no", "0755", "12:30" and "1.10" stay text.
import { Document, type Tags, visit } from "yaml";

export function renderCloudConfig(document: object): string {
  return `#cloud-config\n${renderYaml(document)}`;
}

/** Plain, these two are types of their own (yaml.org/type/merge, yaml.org/type/value): PyYAML fails on them. */
const TYPED_IN_1_1 = new Set<unknown>(["<<", "="]);

export function renderYaml(value: object): string {
  const customTags = (tags: Tags): Tags =>
    tags.filter((tag) => tag !== "merge" && (tag as { tag?: string }).tag !== MERGE);
  const document = new Document(value, { version: "1.1", customTags });
  visit(document, {
    Scalar(_, node) {
      if (TYPED_IN_1_1.has(node.value)) node.type = "QUOTE_DOUBLE";
    },
  });
  return document.toString({ lineWidth: 0 });
}
const MERGE = "tag:yaml.org,2002:merge";
