// A profile's own cloud-config: what a user may add to what the platform gives a host, and why not the rest. Checked when it is set and
// again when a machine boots. Our own schema of the keys that the host image has modules for (images/host, cloud.cfg), not
// cloud-init's whole one: every other key would be taken and do nothing. What is taken here cloud-init takes too: a test asks it.
import { Ajv, type ErrorObject } from "ajv";
import { type Static, type TSchema, Type } from "typebox";
import { parseDocument } from "yaml";
import { Fault } from "../fault.ts";

const object = <T extends Parameters<typeof Type.Object>[0]>(properties: T) =>
  Type.Object(properties, { additionalProperties: false });
const some = <T extends TSchema>(items: T) => Type.Array(items, { minItems: 1, maxItems: 256 });
const line = (pattern = "^[^\\x00\\r\\n]+$") => Type.String({ minLength: 1, maxLength: 4096, pattern });
const ACCOUNT = "^[a-z_][a-z0-9_-]{0,31}$";
/** A command as a list of words, or as a line for the shell. */
const Commands = some(
  Type.Union([line("^[^\\x00]+$"), some(Type.String({ maxLength: 8192, pattern: "^[^\\x00]*$" }))]),
);

const User = object({
  name: line(ACCOUNT),
  gecos: Type.Optional(line()),
  groups: Type.Optional(Type.Union([line(), some(line(ACCOUNT))])),
  homedir: Type.Optional(line("^/[^\\x00\\r\\n]*$")),
  lock_passwd: Type.Optional(Type.Boolean()),
  no_create_home: Type.Optional(Type.Boolean()),
  no_user_group: Type.Optional(Type.Boolean()),
  passwd: Type.Optional(line("^\\$[0-9a-z]+\\$[^\\x00\\r\\n:]+$")),
  primary_group: Type.Optional(line(ACCOUNT)),
  shell: Type.Optional(line("^/[^\\x00\\r\\n:]*$")),
  ssh_authorized_keys: Type.Optional(some(line("^[\\x20-\\x7e]+$"))),
  system: Type.Optional(Type.Boolean()),
  uid: Type.Optional(Type.Integer({ minimum: 1, maximum: 4_294_967_293 })),
});

const File = object({
  path: line("^/[^\\x00\\r\\n]*$"),
  content: Type.Optional(Type.String()),
  encoding: Type.Optional(
    Type.Unsafe<string>({
      type: "string",
      enum: ["text/plain", "b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"],
    }),
  ),
  owner: Type.Optional(line("^[a-z0-9_-]+(:[a-z0-9_-]+)?$")),
  permissions: Type.Optional(line("^0?[0-7]{3,4}$")),
  append: Type.Optional(Type.Boolean()),
});

export const OwnConfig = object({
  bootcmd: Type.Optional(Commands),
  runcmd: Type.Optional(Commands),
  write_files: Type.Optional(some(File)),
  users: Type.Optional(some(User)),
  groups: Type.Optional(some(line(ACCOUNT))),
  ca_certs: Type.Optional(
    Type.Object(
      {
        remove_defaults: Type.Optional(Type.Boolean()),
        trusted: Type.Optional(some(Type.String({ pattern: "^\\s*-----BEGIN CERTIFICATE-----" }))),
      },
      { additionalProperties: false, minProperties: 1 },
    ),
  ),
  timezone: Type.Optional(line("^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")),
  phone_home: Type.Optional(
    object({
      url: line("^https?://[\\x21-\\x7e]+$"),
      post: Type.Optional(
        Type.Union([
          Type.Literal("all"),
          some(Type.Unsafe<string>({ type: "string", enum: ["instance_id", "hostname", "fqdn"] })),
        ]),
      ),
      tries: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    }),
  ),
});
export type OwnConfig = Static<typeof OwnConfig>;

/** As much as clouds take; what strangers make of more could hold up whoever reads it. */
const OWN_MOST_BYTES = 16 * 1024;
const TAKEN = Object.keys(OwnConfig.properties);
/** As many faults are named, then only counted. */
const MOST_NAMED = 10;

const NAMED = "a host is called as its machine";
const LOGIN =
  "keys that log in as root are the profile's: flynn profile set NAME --ssh-key-file FILE; of others write users[].ssh_authorized_keys";
const PACKAGES =
  "a host's root is in RAM and its packages are the image's; what an app needs belongs into the app's image";
const DISKS = "disks are written by the profile's disk policy alone: flynn profile set NAME --disk find-empty";
const PASSWORDS = "write users[] with passwd (a hash) and lock_passwd: false";
const NETWORK = "the network is configured by DHCP";
const OURS = "it is the platform's own";
/** Keys of cloud-config that would break a host, or that are set elsewhere. */
const REFUSED: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
      ["hostname fqdn prefer_fqdn_over_hostname preserve_hostname create_hostname_file manage_etc_hosts", NAMED],
      ["ssh_authorized_keys disable_root ssh_keys ssh_genkeytypes ssh_deletekeys ssh_pwauth ssh_import_id user", LOGIN],
      ["packages package_update package_upgrade package_reboot_if_required apt apt_pipelining snap", PACKAGES],
      ["disk_setup fs_setup mounts mount_default_fields swap growpart resize_rootfs device_aliases", DISKS],
      ["password chpasswd", PASSWORDS],
      ["network network-config resolv_conf manage_resolv_conf", NETWORK],
      ["reporting datasource datasource_list system_info cloud_init_modules cloud_config_modules", OURS],
      ["cloud_final_modules merge_how merge_type vendor_data output def_log_file log_cfgs syslog_fix_perms", OURS],
    ].flatMap(([keys, why]) => keys!.split(" ").map((key) => [key, why!])),
  ),
  power_state: "it would switch hosts off under their jobs: flynn host drain NAME first, then the machine",
  ntp: "time servers come from DHCP: flynn up --dhcp-ntp IP",
  "ca-certs": "write ca_certs",
};

/** Folders and files that the platform writes, or that it stands on. */
const KEPT_PATHS = [
  ...[
    "/etc/flynn",
    "/run/flynn",
    "/usr/lib/flynn",
    "/var/lib/flynn",
    "/var/lib/docker",
    "/var/lib/cloud",
    "/root/.ssh",
    "/etc/ssh",
  ],
  ...["/etc/cloud", "/etc/docker/daemon.json", "/etc/containerd", "/etc/live", "/etc/fstab", "/proc", "/sys", "/dev"],
  ...["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/resolv.conf"],
  ...["/etc", "/run", "/usr/lib", "/usr/local/lib"].map((above) => `${above}/systemd/network`),
];
/** Links on a host to folders, by their other name. */
const TWINS: readonly (readonly [RegExp, string])[] = [
  [/^\/(?=(bin|sbin|lib|lib32|lib64)(\/|$))/, "/usr/"],
  [/^\/var\/run(?=\/|$)/, "/run"],
];
const realPath = (path: string): string => TWINS.reduce((text, [twin, real]) => text.replace(twin, real), path);
const isIn = (folder: string, path: string): boolean => path === folder || path.startsWith(`${folder}/`);
/** What of the platform's a path is in. */
const keptOf = (path: string): string | undefined => KEPT_PATHS.find((one) => isIn(one, realPath(path)));
const isWhole = (path: string): boolean =>
  path
    .slice(1)
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== "..");
const KEPT_UNIT =
  /^\/(etc|run|usr\/lib|usr\/local\/lib)\/systemd\/system\/(flynn-[^/]*|cloud-[^/]*|(docker|containerd)\.service(\.d\/flynn\.conf)?)$/;

const isOwnConfig = new Ajv({ strict: false, validateSchema: false, allErrors: true }).compile<OwnConfig>(OwnConfig);

/** The document as data; a Fault `invalid` that names each place where it cannot be used, and why. */
export function readOwn(text: string): OwnConfig {
  const refuse = (...problems: string[]) => {
    const all = [...new Set(problems)];
    const more = all.length > MOST_NAMED ? [`and ${all.length - MOST_NAMED} more`] : [];
    return new Fault("invalid", `cloud-config: ${[...all.slice(0, MOST_NAMED), ...more].join("; ")}`, {
      details: { field: "cloudConfig" },
    });
  };
  if (Buffer.byteLength(text) > OWN_MOST_BYTES) throw refuse("it is longer than 16 KiB");
  const first = text.split("\n", 1)[0]!.trim();
  if (first.startsWith("#") && /^#(!|include|cloud-(?!config\b)|part-handler|upstart)/.test(first))
    throw refuse(`its first line is ${first.slice(0, 40)}; only #cloud-config documents are taken`);
  if (/^##\s*template:/.test(first)) throw refuse("templates are not taken: write the values");
  const document = parseDocument(text, {
    ...{ version: "1.1", uniqueKeys: true, logLevel: "silent" },
    prettyErrors: false, // which cost a walk over the text for each
  });
  const wrong = document.errors.slice(0, MOST_NAMED).map(({ pos, message }) => {
    const line = text.slice(0, pos[0]).split("\n").length;
    return `line ${line}: ${message.split("\n")[0]!.slice(0, 120)}`;
  });
  if (wrong.length > 0) throw refuse(`it is not YAML: ${[...new Set(wrong)].join("; ")}`);
  const value = dataOf(document, refuse);
  if (value === null || value === undefined) return {};
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Map || value instanceof Set)
    throw refuse("it is not a map of keys, such as `runcmd: [[echo, hello]]`");
  const strange = Object.keys(value).filter((key) => !TAKEN.includes(key));
  const known = Object.fromEntries(Object.entries(value).filter(([key]) => TAKEN.includes(key)));
  const problems = whyNot(strange);
  if (!isOwnConfig(known)) problems.push(...deepest(isOwnConfig.errors ?? []).flatMap((one) => wordsOf(one)));
  const { write_files, users } = known as { write_files?: unknown; users?: unknown };
  if (Array.isArray(write_files))
    problems.push(...write_files.flatMap((file, n) => (hasText(file, "path") ? filesProblem(file, n) : [])));
  if (Array.isArray(users))
    problems.push(...users.flatMap((user, n) => (hasText(user, "name") ? userProblem(user, n) : [])));
  const halves = placesOf(value, (text) => !text.isWellFormed());
  problems.push(...halves.map((at) => `${at}: holds half of a character (a lone surrogate)`));
  if (problems.length > 0) throw refuse(...problems);
  return known as OwnConfig;
}

/** Whatever else is wrong with it. */
const hasText = <K extends string>(value: unknown, key: K): value is Record<K, string> =>
  typeof (value as Record<string, unknown> | null)?.[key] === "string";

function dataOf(document: ReturnType<typeof parseDocument>, refuse: (...problems: string[]) => Fault): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw refuse(`it is not YAML that can be read: ${(cause as Error).message.split("\n")[0]}`);
  }
}

/** Where in it is text that is so: `runcmd[0]`, `write_files[1].content`. */
function placesOf(value: unknown, isSo: (text: string) => boolean, at = ""): string[] {
  if (typeof value === "string") return isSo(value) ? [at] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) =>
    placesOf(one, isSo, Array.isArray(value) ? `${at}[${key}]` : at === "" ? key : `${at}.${key}`),
  );
}

/** Keys that are refused for the same reason together. */
function whyNot(keys: readonly string[]): string[] {
  const byReason = new Map<string, string[]>();
  for (const key of keys) {
    const why = Object.hasOwn(REFUSED, key)
      ? REFUSED[key]!
      : `nothing on a host does it; there are ${TAKEN.join(", ")}`;
    const shown = key.slice(0, 60).replace(/[^\x20-\x7e]/g, "?");
    byReason.set(why, [...(byReason.get(why) ?? []), shown]);
  }
  return [...byReason].map(([why, named]) => {
    const more = named.length > MOST_NAMED ? ` and ${named.length - MOST_NAMED} more` : "";
    return `${named.slice(0, MOST_NAMED).join(", ")}${more}: ${why}`;
  });
}

/** Without the alternatives of what is wrong further in: of `runcmd: [[1]]` the 1, not that the list is no text. */
function deepest(errors: readonly ErrorObject[]): ErrorObject[] {
  const unmet = new Set(errors.filter(({ keyword }) => keyword === "anyOf").map(({ instancePath }) => instancePath));
  const above = ({ instancePath }: ErrorObject): string[] =>
    [...instancePath.matchAll(/\//g)].map(({ index }) => instancePath.slice(0, index));
  const covered = new Set(errors.flatMap(above).filter((at) => unmet.has(at)));
  return errors.filter(({ instancePath }) => !covered.has(instancePath));
}

function filesProblem({ path }: { path: string }, n: number): string[] {
  const at = `write_files[${n}]`;
  const shown = path.slice(0, 100);
  if (!isWhole(path)) return [`${at}: write ${shown} as a whole path, without . and .. and double /`];
  const kept = keptOf(path);
  if (kept !== undefined) return [`${at}: ${shown}: ${kept} is the platform's own`];
  return KEPT_UNIT.test(realPath(path))
    ? [`${at}: ${shown} is a unit of the platform's; write a drop-in of another name`]
    : [];
}

/** A home gets files of its user, such as keys. */
function userProblem({ name, homedir }: { name: string; homedir?: unknown }, n: number): string[] {
  const at = `users[${n}]`;
  if (name === "root") return [`${at}: root is there already; ${LOGIN}`];
  if (typeof homedir !== "string") return []; // said by the schema
  const shown = homedir.slice(0, 100);
  if (!isWhole(homedir)) return [`${at}: write ${shown} as a whole path, without . and .. and double /`];
  if (isIn("/root", homedir)) return [`${at}: its home ${shown} is root's`];
  const kept = keptOf(homedir);
  return kept === undefined ? [] : [`${at}: its home ${shown}: ${kept} is the platform's own`];
}

const REASONS: Readonly<Record<string, string>> = {
  sudo: "there is no sudo on a host; its only other user with rights is root",
  plain_text_passwd: "write passwd with a hash, of `openssl passwd -6`",
  hashed_passwd: "write passwd with the hash",
  defer: "files are written once, before the agent starts",
};

/** Where, and what is wanted there, without ajv's own words for alternatives. */
function wordsOf({ instancePath, keyword, params, message, parentSchema: _ }: ErrorObject): string[] {
  const at = instancePath
    .split("/")
    .slice(1)
    .reduce((text, step) => (/^\d+$/.test(step) ? `${text}[${step}]` : text === "" ? step : `${text}.${step}`), "");
  if (keyword === "anyOf") return [`${at}: is not of a form that is taken`];
  if (keyword === "additionalProperties") {
    const key = String(params["additionalProperty"]).slice(0, 60);
    return [`${at}.${key}: ${Object.hasOwn(REASONS, key) ? REASONS[key] : "is not one of its keys here"}`];
  }
  if (keyword === "type")
    return [`${at}: must be ${String(params["type"])}${params["type"] === "string" ? " (put it in quotes)" : ""}`];
  if (keyword === "enum") return [`${at}: must be one of ${(params["allowedValues"] as string[]).join(", ")}`];
  return [`${at}: ${message ?? "is wrong"}`];
}
