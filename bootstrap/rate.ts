// Token buckets per key, for what strangers on the LAN may ask. The table is capped: the longest-idle key goes first.

export interface RateLimit {
  /** False when the key has spent its tokens. */
  take(key: string): boolean;
}

export interface RateOptions {
  perSecond: number;
  burst: number;
  maxKeys: number;
  /** Monotonic milliseconds. */
  nowMs?: () => number;
}

export function rateLimit({ perSecond, burst, maxKeys, nowMs = () => performance.now() }: RateOptions): RateLimit {
  const buckets = new Map<string, { tokens: number; atMs: number }>();
  return {
    take(key) {
      const now = nowMs();
      const bucket = buckets.get(key) ?? { tokens: burst, atMs: now };
      buckets.delete(key);
      bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.atMs) / 1000) * perSecond);
      bucket.atMs = now;
      buckets.set(key, bucket);
      if (buckets.size > maxKeys) buckets.delete(buckets.keys().next().value!);
      if (bucket.tokens < 1) return false;
      bucket.tokens--;
      return true;
    },
  };
}
