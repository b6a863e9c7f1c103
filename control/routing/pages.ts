// What routers answer in an app's place while it is in maintenance, as a whole page. The app's own page as it is (routers
// serve it in a sandbox), or a plain one with its message, escaped.
import type { AppPages } from "#api/pages.ts";

export function maintenancePage(app: string, { page, message }: AppPages): string {
  if (page !== undefined) return page;
  const words = message ?? "We are at work on it and will be back soon.";
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Maintenance</title>
<style>body{font:1.1rem/1.6 system-ui,sans-serif;max-width:32rem;margin:20vh auto 0;padding:0 1rem;color:#222;background:#fff}</style>
<h1>${escaped(app)} is down for maintenance</h1>
<p>${escaped(words)}</p>
</html>
`;
}

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character]!);
