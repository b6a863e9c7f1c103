// /proc/cpuinfo, of x86 and of Arm (which has neither a model's name nor sockets).
import type { InventoryReport } from "#api/inventory.ts";
import { cut } from "./text.ts";

const FLAGS = [
  ...["vmx", "svm", "aes", "sha_ni", "avx", "avx2", "avx512f", "amx_tile", "sgx", "sev", "tme"],
  ...["sha2", "crc32", "atomics", "sve"],
];

export function parseCpuinfo(text: string): InventoryReport["cpu"] {
  const blocks = text.split(/\n\s*\n/).map(fieldsOf);
  const processors = blocks.filter((block) => block.has("processor"));
  const sockets = new Set(processors.map((block) => block.get("physical id") ?? "0"));
  const cores = new Set(
    processors.map((block) => `${block.get("physical id") ?? "0"} ${block.get("core id") ?? block.get("processor")}`),
  );
  const first = processors[0];
  const has = new Set((first?.get("flags") ?? first?.get("Features") ?? "").split(" "));
  return {
    model: cut(first?.get("model name"), 96),
    sockets: sockets.size,
    cores: cores.size,
    threads: processors.length,
    flags: FLAGS.filter((flag) => has.has(flag)).slice(0, 16),
  };
}

function fieldsOf(block: string): Map<string, string> {
  return new Map(
    block.split("\n").flatMap((line): [string, string][] => {
      const at = line.indexOf(":");
      return at === -1 ? [] : [[line.slice(0, at).trim(), line.slice(at + 1).trim()]];
    }),
  );
}
