// A cloud-config document as typed data, printed as YAML that a YAML 1.1 reader (PyYAML in cloud-init) reads back as the
// same values: "no", "0755", "12:30" and "1.10" stay text.
import { stringify } from "yaml";

export interface WriteFile {
  path: string;
  content: string;
  /** Octal, such as `0600`. */
  permissions: string;
  owner?: string;
}

/** The part of cloud-config that our images have modules for (images/host: cloud.cfg). */
export interface CloudConfig {
  write_files?: WriteFile[];
  /** Argument arrays, never shell text. */
  runcmd?: string[][];
  bootcmd?: string[][];
  ca_certs?: { trusted: string[] };
  reporting?: Record<string, { type: "webhook"; endpoint: string; timeout: number; retries: number }>;
}

export function renderCloudConfig(document: CloudConfig): string {
  return `#cloud-config\n${renderYaml(document)}`;
}

export function renderYaml(value: object): string {
  return stringify(value, { version: "1.1", lineWidth: 0 });
}
