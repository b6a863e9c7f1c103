// What to throw when a socket could not be opened: names the port, and who has it or why it cannot be had.
import { Fault } from "#api/fault.ts";
import { portHolder } from "#lib/port-holder.ts";

export async function listenFault(
  protocol: "udp" | "tcp",
  address: string,
  port: number,
  what: string,
  cause: unknown,
): Promise<Fault> {
  const code = (cause as NodeJS.ErrnoException).code;
  const where = `${what} cannot listen on ${protocol} ${address}:${port}`;
  if (code === "EADDRINUSE") {
    const holder = await portHolder(protocol, port);
    const who = holder ? `${holder.command} (pid ${holder.pid}) has the port; stop it` : "another program has the port";
    return new Fault("conflict", `${where}: ${who}`, { details: { port, ...holder } });
  }
  if (code === "EACCES") return new Fault("forbidden", `${where}: ports below 1024 need root or CAP_NET_BIND_SERVICE`);
  if (code === "EADDRNOTAVAIL")
    return new Fault("invalid", `${where}: this machine does not have the address ${address}`);
  return new Fault("unavailable", where, { cause });
}
