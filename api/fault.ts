// The one error class a caller may act on, and the closed table of its codes: HTTP status, CLI exit code and whether
// trying again as it stands can help all follow from the code. Retired codes are never used again.

export const FAULTS = {
  invalid: { status: 400, exit: 2, retry: false },
  unauthenticated: { status: 401, exit: 4, retry: false },
  forbidden: { status: 403, exit: 4, retry: false },
  "not-found": { status: 404, exit: 3, retry: false },
  "method-not-allowed": { status: 405, exit: 2, retry: false },
  incompatible: { status: 400, exit: 1, retry: false },
  conflict: { status: 409, exit: 5, retry: false },
  precondition: { status: 412, exit: 5, retry: false },
  gone: { status: 410, exit: 1, retry: false },
  "too-large": { status: 413, exit: 2, retry: false },
  "rate-limited": { status: 429, exit: 1, retry: true },
  "no-capacity": { status: 507, exit: 1, retry: true },
  unavailable: { status: 503, exit: 1, retry: true },
  timeout: { status: 504, exit: 6, retry: true },
  internal: { status: 500, exit: 1, retry: false },
} as const satisfies Record<string, { status: number; exit: number; retry: boolean }>;

export type FaultCode = keyof typeof FAULTS;

export interface FaultOptions {
  cause?: unknown;
  /** Overrides the table: true when the same request may succeed later. */
  retry?: boolean;
  /** Machine-readable facts, such as the field that was wrong. */
  details?: Record<string, unknown>;
}

/** A refusal or failure with a code. The message says what was being done and why not; it never repeats its cause. */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly retry: boolean;
  readonly details: Record<string, unknown> | undefined;
  constructor(code: FaultCode, message: string, options: FaultOptions = {}) {
    super(message, { cause: options.cause });
    this.name = "Fault";
    this.code = code;
    this.retry = options.retry ?? FAULTS[code].retry;
    this.details = options.details;
  }
}

export function isFault(error: unknown, code?: FaultCode): error is Fault {
  return error instanceof Fault && (code === undefined || error.code === code);
}

/** Any error as a Fault: itself, or `internal` with the error as its cause. */
export function toFault(error: unknown, doing: string): Fault {
  return error instanceof Fault ? error : new Fault("internal", doing, { cause: error });
}
