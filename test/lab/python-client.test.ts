// time limit: 300 s
// A Python client made from api/openapi.json, as README says, by a generator from the Python package index (python-client.txt, a virtual
// environment of its own): it speaks with a real control, and with one that answers more than the document knows.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exec } from "#lib/exec.ts";
import { NEW_STATE, newerControl } from "../api/clients/newer-control.ts";
import { GIB, type Rig, withRig } from "../control/rig.ts";

const DOCUMENT = fileURLToPath(new URL("../../api/openapi.json", import.meta.url));
const PACKAGES = fileURLToPath(new URL("./python-client.txt", import.meta.url));

/** The generator knows archives by one name, and formats nothing here. */
const SETTINGS = { content_type_overrides: { "application/x-tar": "application/octet-stream" }, post_hooks: [] };

const PROGRAM = `
import datetime, json, os, ssl
from flynn_client import AuthenticatedClient
from flynn_client.models import (
    App, CreateAppRequest, LogDrainRequest, CreateRouteRequest, CreateServiceRequest, CreateTokenRequest, Fault, Host,
    HttpRoute, Scope, UpdateAppRequest,
)
from flynn_client.api.apps import create_app, get_app, get_release, list_apps, list_releases, update_app
from flynn_client.api.drains import create_log_drain, delete_log_drain, get_log_drain
from flynn_client.api.hosts import get_host, list_hosts
from flynn_client.api.routes import create_route, get_route
from flynn_client.api.services import create_service
from flynn_client.api.status import get_status, list_events
from flynn_client.api.tokens import create_token

verify = ssl.create_default_context(cafile=os.environ["CA"])
client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"], verify_ssl=verify,
                             raise_on_unexpected_status=True)
with client:
    made = [create_app.sync(client=client, body=CreateAppRequest(name="shop"), idempotency_key="once") for _ in range(2)]
    assert all(isinstance(app, App) for app in made) and made[0].id == made[1].id, made
    assert isinstance(made[0].created_at, datetime.datetime)
    changed = update_app.sync("shop", client=client, body=UpdateAppRequest(deploy_timeout_ms=60_000))
    create_service.sync(client=client, body=CreateServiceRequest(name="hello", image="hello:1", count=2))
    route = create_route.sync(client=client, body=CreateRouteRequest(app="hello", domain="www.example.com"))
    assert isinstance(route, HttpRoute) and get_route.sync(route.id, client=client).id == route.id, route
    names, page = [], list_apps.sync(client=client, limit=1)
    while True:
        names += [app.name for app in page.items]
        if not page.next_cursor:
            break
        page = list_apps.sync(client=client, limit=1, cursor=page.next_cursor)
    release = get_release.sync("hello", "v1", client=client)
    assert list_releases.sync("hello", client=client).items[0].id == release.id
    host = list_hosts.sync(client=client).items[0]
    read = get_host.sync_detailed(host.id, client=client)
    assert isinstance(read.parsed, Host) and read.headers["etag"]
    same = get_host.sync_detailed(host.id, client=client, if_none_match=read.headers["etag"])
    drain = create_log_drain.sync(client=client, body=LogDrainRequest(url="https://logs.example.com/"))
    assert get_log_drain.sync(drain.id, client=client).id == drain.id
    delete_log_drain.sync(drain.id, client=client)
    token = create_token.sync(client=client, body=CreateTokenRequest(name="ci", permissions=[Scope.APPREAD]))
    refusal = get_app.sync_detailed("nobody", client=client)
    assert isinstance(refusal.parsed, Fault), refusal
    assert len(list_events.sync(client=client, limit=2).items) == 2
    print(json.dumps({
        "names": sorted(names), "refusal": f"{refusal.status_code} {refusal.parsed.code}", "timeoutMs": changed.deploy_timeout_ms,
        "memory": host.capacity.memory_bytes, "hasToken": token.token.startswith("fat_"), "unchanged": int(same.status_code),
        "state": get_status.sync(client=client).state,
    }))
`;

test("the client that a generator makes of the document makes, reads, pages and removes with a real control, and with a newer one", async () => {
  const directory = await mkdtemp(join(tmpdir(), "flynn-python-client-"));
  const bin = join(directory, "python", "bin");
  try {
    await exec(["python3", "-m", "venv", join(directory, "python")], { timeoutMs: 120_000 });
    await exec([join(bin, "pip"), "install", "--quiet", "--no-deps", "-r", PACKAGES], { timeoutMs: 200_000 });
    const settings = join(directory, "settings.json");
    await writeFile(settings, JSON.stringify(SETTINGS));
    const client = ["--output-path", join(directory, "flynn_client"), "--meta", "none", "--config", settings];
    const generator = join(bin, "openapi-python-client");
    const { stdout: said } = await exec([generator, "generate", "--path", DOCUMENT, ...client], { cwd: directory });
    assert.not.match(said, /WARNING|ERROR|Unable|unsupported/i, said);
    const program = join(directory, "program.py");
    await writeFile(program, PROGRAM);
    const ca = join(directory, "ca.pem");
    const speak = async (rig: Rig, url: string): Promise<unknown> => {
      const env = { ...process.env, URL: url, TOKEN: rig.token, CA: ca };
      return JSON.parse(
        (await exec([join(bin, "python"), program], { env, cwd: directory, timeoutMs: 60_000 })).stdout,
      );
    };
    for (const isNewer of [false, true])
      await withRig(
        async (rig) => {
          await (await rig.host("h1")).report();
          await writeFile(ca, rig.caPem);
          const newer = isNewer ? await newerControl(rig) : undefined;
          try {
            assert.equal(await speak(rig, newer?.url ?? rig.url), {
              names: ["hello", "shop"],
              refusal: "404 not-found",
              timeoutMs: 60_000,
              memory: 8 * GIB,
              hasToken: true,
              unchanged: 304,
              state: isNewer ? NEW_STATE : "down",
            });
          } finally {
            await newer?.close();
          }
        },
        { loops: false },
      );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.run();
