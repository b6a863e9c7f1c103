// Why a build ended without a slug, in words for the person who pushed. Anything else that is thrown is a fault of ours.

export class BuildFailure extends Error {
  /** What was printed already, or belongs before the reason. */
  readonly details: readonly string[];
  constructor(reason: string, options: { cause?: unknown; details?: readonly string[] } = {}) {
    super(reason, { cause: options.cause });
    this.name = "BuildFailure";
    this.details = options.details ?? [];
  }
}
