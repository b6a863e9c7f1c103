// IPMI against a real peer (ipmi_sim): switching, one boot of another device, and each refusal in plain words.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { forcedDevice, ipmiSwitch, ipmiTrouble, powerOf } from "../../../bootstrap/bmc/ipmi.ts";
import { troubleCode } from "../../../bootstrap/bmc/trouble.ts";
import { type IpmiSim, ipmiSim } from "./ipmi-sim.ts";

let sim: IpmiSim;
const signal = AbortSignal.timeout(100_000);

test.before(async () => {
  sim = await ipmiSim();
});
test.after(async () => sim[Symbol.asyncDispose]());

test("a machine is switched on and off, and its BMC says so", async () => {
  const device = ipmiSwitch({ bmc: sim.bmc });
  assert.is(await device.power(signal), "off");
  await device.on(signal);
  assert.is(await device.power(signal), "on");
  assert.is(await sim.power(), "on");
  await device.off(false, signal);
  assert.ok((await sim.calls()).includes("set shutdown 1"));
  await device.on(signal);
  await device.off(true, signal);
  assert.is(await device.power(signal), "off");
});

test("one boot from the network is set and read back", async () => {
  const reads = await ipmiSwitch({ bmc: sim.bmc }).bootOnce("pxe", "uefi", signal);
  assert.match(reads, /PXE/);
  assert.ok((await sim.calls()).includes("set boot pxe"));
});

test("UEFI HTTP boot, which IPMI does not know, is said to be so", async () => {
  const error = await ipmiSwitch({ bmc: sim.bmc })
    .bootOnce("http", undefined, signal)
    .catch((refused: unknown) => refused);
  assert.is(troubleCode(error), "bmc-unsupported");
});

test("a wrong password, an unknown user and a wrong cipher suite each have a code and words of their own", async () => {
  const cases = [
    [{ password: "nope" }, "bmc-password"],
    [{ user: "nobody" }, "bmc-password"],
    [{ cipherSuite: 17 }, "bmc-cipher-suite"],
  ] as const;
  for (const [change, code] of cases) {
    const bmc = { ...sim.bmc, ...change };
    const error = await ipmiSwitch({ bmc })
      .on(signal)
      .catch((refused: unknown) => refused);
    assert.is(troubleCode(error), code, String(error));
    assert.match((error as Error).message, sim.address);
    assert.not.match((error as Error).message, sim.bmc.password!);
  }
});

test("one that does not answer is given up, and said to be unreachable", async () => {
  const { address } = sim;
  const bmc = { ...sim.bmc, address: address.replace(/\d+$/, "9") };
  const error = await ipmiSwitch({ bmc, timeoutMs: 1_000 })
    .power(signal)
    .catch((refused: unknown) => refused);
  assert.ok(["bmc-unreachable", "bmc-timeout"].includes(troubleCode(error) ?? ""), String(error));
});

test("what ipmitool says on stderr is understood, whatever more it says", () => {
  const said = {
    "Set Chassis Power Control to Up/On failed: Insufficient privilege level": "bmc-privilege",
    "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session": "bmc-password",
    "Error in open session response message : insufficient resources for session": "bmc-busy",
    "Info: SOL payload already active on another session": "bmc-busy",
    "Address lookup for nowhere failed": "bmc-unreachable",
    "Get Auth Capabilities error\nError: Unable to establish IPMI v2 / RMCP+ session": "bmc-unreachable",
    "Set Boot Device failed: Invalid command": "bmc-unsupported",
    "\u001b[2Jgarbage": "bmc-answer",
  };
  for (const [text, code] of Object.entries(said)) {
    const fault = ipmiTrouble(text, "10.0.0.9");
    assert.is(troubleCode(fault), code, text);
    assert.not.match(fault.message, /[\u0000-\u001f]/);
  }
});

test("whatever a BMC makes ipmitool write, reading it never throws, and what is told stays short and printable", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 5_000 }), (text) => {
      assert.ok(["on", "off", "unknown"].includes(powerOf(text)));
      assert.ok((forcedDevice(text) ?? "").length <= 60);
      const { message } = ipmiTrouble(text, "10.0.0.9");
      assert.ok(message.length <= 400 && !/[\u0000-\u001f\u007f-\u009f]/.test(message));
    }),
  );
});

test.run();
