// The virtual drive of a Redfish service: what we put in is read back and taken out again, and what somebody else put in stays.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { PowerWork } from "#api/bmc-work.ts";
import { carryOut } from "../../../bootstrap/bmc/carry-out.ts";
import type { Carrying } from "../../../bootstrap/bmc/carrying.ts";
import { openSwitch } from "../../../bootstrap/bmc/open.ts";
import type { Json } from "../../../bootstrap/bmc/redfish/answer.ts";
import { virtualDrive } from "../../../bootstrap/bmc/redfish/drive.ts";
import type { Session } from "../../../bootstrap/bmc/redfish/session.ts";
import type { PutIn, Switch } from "../../../bootstrap/bmc/switch.ts";
import { troubleCode } from "../../../bootstrap/bmc/trouble.ts";
import type { Medium } from "../../../bootstrap/media/room.ts";
import { type RedfishFake, redfishFake, SYSTEM } from "./redfish-fake.ts";
import { QUICK } from "./world.ts";

const signal = AbortSignal.timeout(50_000);
const URL = `http://10.77.0.1:7780/m/${"t".repeat(43)}/boot.iso`;
const OLD = `http://10.77.0.1:7780/m/${"o".repeat(43)}/boot.iso`;

async function withDrive(
  body: (fake: RedfishFake, device: Required<Switch> & { putIn: PutIn }) => Promise<void>,
): Promise<void> {
  await using fake = await redfishFake();
  const device = openSwitch(fake.bmc);
  try {
    await body(fake, { ...(device as Required<Switch>), putIn: new Set<string>() });
  } finally {
    await device.close();
  }
}
const actions = ({ asked }: RedfishFake) =>
  asked.flatMap((one) => /VirtualMedia\.(Insert|Eject)Media/.exec(one)?.[1] ?? []);

test("an ISO is put into the drive for CDs, once however often it is ordered, and taken out", () =>
  withDrive(async (fake, { drive, putIn }) => {
    await drive.insert(URL, putIn, signal);
    await drive.insert(URL, putIn, signal);
    assert.equal([fake.drives["Cd"]!["Image"], fake.drives["Cd"]!["Inserted"]], [URL, true]);
    assert.equal(fake.drives["Floppy"]!["Inserted"], false);
    await drive.eject(URL, putIn, signal);
    await drive.eject(URL, putIn, signal);
    assert.is(fake.drives["Cd"]!["Inserted"], false);
    assert.equal(actions(fake), ["Insert", "Eject"]);
  }));

test("an ISO of ours that was left in makes room; somebody else's is left alone, and the order says so", () =>
  withDrive(async (fake, { drive, putIn }) => {
    Object.assign(fake.drives["Cd"]!, { Image: OLD, Inserted: true });
    await drive.insert(URL, putIn, signal);
    assert.equal(actions(fake), ["Eject", "Insert"]);
    Object.assign(fake.drives["Cd"]!, { Image: "http://10.0.0.5/rescue.iso", Inserted: true });
    await drive.eject(URL, putIn, signal);
    const error = await drive.insert(URL, putIn, signal).catch((refused: unknown) => refused);
    assert.is(troubleCode(error), "bmc-media");
    assert.match((error as Error).message, "holds http://10.0.0.5/rescue.iso, which is not ours");
    assert.is(fake.drives["Cd"]!["Image"], "http://10.0.0.5/rescue.iso");
  }));

test("an older service without actions has the image set as a property", () =>
  withDrive(async (fake, { drive, putIn }) => {
    delete fake.drives["Cd"]!["Actions"];
    await drive.insert(URL, putIn, signal);
    assert.is(fake.drives["Cd"]!["Image"], URL);
    await drive.eject(URL, putIn, signal);
    assert.is(fake.drives["Cd"]!["Inserted"], false);
  }));

test("a service that says yes and does nothing is found out, and one without a drive for CDs", async () => {
  await withDrive(async (fake, { drive, putIn }) => {
    fake.drives = { Floppy: fake.drives["Floppy"]! };
    assert.is(troubleCode(await drive.insert(URL, putIn, signal).catch((error: unknown) => error)), "bmc-unsupported");
  });
  const silent: Session = {
    async get(path) {
      const own = `${SYSTEM}/VirtualMedia`;
      const answers: Record<string, Json> = {
        [SYSTEM]: { VirtualMedia: { "@odata.id": own } },
        [own]: { Members: [{ "@odata.id": `${own}/1` }] },
        [`${own}/1`]: { MediaTypes: ["CD"], Inserted: false, Image: null },
      };
      return { etag: undefined, value: answers[path]! };
    },
    patch: async () => undefined,
    post: async () => undefined,
    close: async () => undefined,
  };
  const putIn = new Set<string>();
  const drive = virtualDrive(silent, { address: "bmc", system: async () => SYSTEM, pollMs: 5, withinMs: 30 });
  const error = await drive.insert(URL, putIn, signal).catch((refused: unknown) => refused);
  assert.is(troubleCode(error), "bmc-media");
});

test("an image whose address the service keeps to itself counts as ours when it is in", () =>
  withDrive(async (fake, { drive, putIn }) => {
    fake.before = (request) => {
      if (request.method === "GET" && request.url?.endsWith("/Cd")) fake.drives["Cd"]!["Image"] = null;
      return false;
    };
    await drive.insert(URL, putIn, signal);
    await drive.eject(URL, putIn, signal);
    assert.is(fake.drives["Cd"]!["Inserted"], false);
  }));

test("what a person put in by the BMC's own console, without an address, is not taken out by an order that was refused", () =>
  withDrive(async (fake, device) => {
    Object.assign(fake.drives["Cd"]!, { Image: null, Inserted: true, ConnectedVia: "Applet" });
    const carrying = {
      ...{ open: () => device, media: async () => medium, tell: () => undefined, putIn: device.putIn },
      ...{ signal, stopping: signal, waits: QUICK },
    } as Partial<Carrying> as Carrying;
    const medium: Medium = { url: URL, boots: ["bios", "uefi"], taken: () => undefined, end: async () => undefined };
    const work = { order: "mo-1", action: "on", boot: "media", seenOff: true, bmc: fake.bmc };
    const { end } = await carryOut(work as unknown as PowerWork, carrying);
    assert.match(end.reason, "which is not ours: eject it at the BMC first");
    assert.is(fake.drives["Cd"]!["Inserted"], true);
  }));

test("IPMI has no drive", () => {
  const device = openSwitch({ kind: "ipmi", address: "10.0.0.9", user: "u", password: "p", macs: [] });
  assert.is(device.drive, undefined);
});

test.run();
