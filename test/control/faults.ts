// What a refusal said, for tables of refusals.
import { isFault } from "#api/fault.ts";

/** `code message` of the fault that the call throws; `fine` when it throws none. */
export function refusal(work: () => unknown): string {
  try {
    work();
    return "fine";
  } catch (error) {
    return isFault(error) ? `${error.code} ${error.message}` : String(error);
  }
}

/** The field that a fault names. */
export function refusedField(work: () => unknown): unknown {
  try {
    work();
    return undefined;
  } catch (error) {
    return isFault(error) ? (error.details as { field?: unknown } | undefined)?.field : error;
  }
}
