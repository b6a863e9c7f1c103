// time limit: 240 s
// Real UEFI firmware against the real boot server: OVMF asks by PXE, runs iPXE, and gets its script. All other firmware: npm run
// test:soak -- firmware.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootFirmware } from "../lab/firmware/boot.ts";
import { withScope } from "../lab/scope.ts";

test("UEFI firmware takes the first offer, runs the iPXE that it fetched, and gets its machine's script", () =>
  withScope(async (scope) => {
    const { events } = await bootFirmware(scope, {
      firmware: "ovmf",
      mode: "full",
      ipv6: true,
      isReached: (told) => told.some(({ stage }) => stage === "kernel"),
      timeoutMs: 150_000,
    });
    const [first] = events;
    assert.equal([first?.stage, first?.claimed.firmware, first?.claimed.architecture], ["discover", "uefi", "x86_64"]);
    const files = events.filter(({ stage }) => stage === "tftp").map(({ detail }) => detail?.["file"]);
    assert.ok(files.includes("snponly.efi"), `${files}`);
    const script = events.find(({ stage }) => stage === "script");
    assert.is(script?.observed.card, first?.claimed.mac);
    for (const code of ["rung", "loader-refused", "boot-server-asked"])
      assert.not.ok(
        events.some(({ detail }) => detail?.["code"] === code),
        code,
      );
  }));

test.run();
