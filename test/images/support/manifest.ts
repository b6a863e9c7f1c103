// A small, valid manifest body for tests.
import type { Manifest } from "../../../images/host/manifest.ts";

export const manifestBody: Omit<Manifest, "id"> = {
  name: "host",
  createdAt: "2025-01-01T00:00:00.000Z",
  architecture: "amd64",
  kernel: { sha256: "a".repeat(64), sizeBytes: 8_000_000, version: "6.1.0-1-amd64" },
  initrd: { sha256: "b".repeat(64), sizeBytes: 27_000_000 },
  squashfs: { sha256: "c".repeat(64), sizeBytes: 170_000_000 },
  cmdline: ["boot=live", "console=ttyS0,115200n8"],
  packages: [{ name: "docker.io", version: "20.10.24" }],
  memoryNeedBytes: 800_000_000,
  inputs: "d".repeat(64),
};
