export interface DiskOutcome {
  failed: boolean;
  reason: string;
}
