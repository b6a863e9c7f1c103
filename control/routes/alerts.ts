// Alerts as people read them.
import { getAlert, listAlerts } from "#api/alerts.ts";
import { Fault } from "#api/fault.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { Mount } from "../mount.ts";
import { page } from "../paging.ts";

export function mountAlerts(mount: Mount, alerts: Pick<Alerts, "list" | "get">): void {
  mount(listAlerts, ({ query }) => {
    const { state = "active" } = query;
    const wanted = alerts
      .list()
      .filter(({ clearedAt }) => state === "all" || (state === "cleared") === (clearedAt !== undefined));
    return page(
      wanted.map((value) => ({ key: value.id, value })),
      query,
      ({ value }) => value,
      { falling: true },
    );
  });
  mount(getAlert, ({ params: { id } }) => {
    const found = alerts.get(id);
    if (found === undefined) throw new Fault("not-found", `no alert ${id}`);
    return found;
  });
}
