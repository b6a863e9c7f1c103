// Alerts of a lab's appliance, by kind.
import type { Alert } from "#api/alerts.ts";
import { until } from "#lib/time.ts";
import type { Appliance } from "../appliance.ts";
import { ask } from "../survival/cluster.ts";

export async function alertsOf(appliance: Appliance, kind: Alert["kind"], state = "active"): Promise<Alert[]> {
  const { items } = await ask<{ items: Alert[] }>(appliance, "GET", `/v1/alerts?state=${state}&limit=1000`);
  return items.filter((alert) => alert.kind === kind);
}

export const raised = (appliance: Appliance, kind: Alert["kind"], count: number, timeoutMs = 60_000) =>
  until(
    async () => {
      const found = await alertsOf(appliance, kind);
      return found.length >= count ? found : undefined;
    },
    { what: `${count} alerts ${kind}`, timeoutMs, everyMs: 500 },
  );

export async function cleared(appliance: Appliance, kind: Alert["kind"], timeoutMs = 90_000): Promise<void> {
  await until(async () => (await alertsOf(appliance, kind)).length === 0, {
    what: `no alert ${kind}`,
    timeoutMs,
    everyMs: 1_000,
  });
}
