// A disk that takes no writes: full, over its quota, or read-only.
const FULL = /ENOSPC|EDQUOT|EROFS|No space left|Disk quota exceeded|Read-only file system/i;

/** Whether space, or a right, is missing that may come back: nothing is broken. */
export function isFullDisk(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (FULL.test(`${(cause as NodeJS.ErrnoException).code ?? ""} ${cause.message}`)) return true;
  return false;
}
