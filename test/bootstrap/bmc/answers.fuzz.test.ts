// What BMCs answer, bent and broken: reading it ends, in a value of the right kind or a Fault with a code, and nothing of it is a path to
// elsewhere or moves a terminal's cursor.
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  errorText,
  isOwnPath,
  type Json,
  linkAt,
  membersOf,
  nestsWithin,
  ownLocation,
  readAnswer,
  textsAt,
} from "../../../bootstrap/bmc/redfish/answer.ts";
import { allowed, overrideFault, powerStateOf } from "../../../bootstrap/bmc/redfish/system.ts";
import { escaped, ring } from "../../../bootstrap/bmc/sol.ts";
import { troubleCode } from "../../../bootstrap/bmc/trouble.ts";
import { magicPacket } from "../../../bootstrap/bmc/wake.ts";
import { untilLeft } from "../../../cli/commands/power.ts";

const names = fc.constantFrom(
  ...["Members", "@odata.id", "PowerState", "Boot", "BootSourceOverrideTarget", "error", "message", "__proto__"],
  ...["@Message.ExtendedInfo", "Message", "constructor", "Actions", "#ComputerSystem.Reset"],
);
const answers: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom<Json>(
      "On",
      "Off",
      "Pxe",
      "Once",
      "/redfish/v1/Systems/1",
      "https://evil.test/redfish/v1",
      null,
      7,
      true,
    ),
    fc.string({ unit: "binary" }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(names, tie("value")), { maxLength: 5 }).map((pairs) => Object.fromEntries(pairs)),
  ),
})).value;

test("any bytes are a JSON value or a Fault", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 2_000 }),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        try {
          readAnswer(Buffer.from(bytes));
        } catch (error) {
          assert.is(troubleCode(error), "bmc-answer", String(error));
          assert.ok((error as Error).message.length < 200);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test("any answer is read to its kind, and no link of it leads elsewhere", () => {
  fc.assert(
    fc.property(answers, (answer) => {
      assert.ok(["on", "off", "unknown"].includes(powerStateOf(answer)));
      for (const link of [...membersOf(answer), linkAt(answer), linkAt(answer, "Boot")])
        if (link !== undefined) assert.ok(link.startsWith("/redfish/") || link === "/redfish", link);
      assert.not.match(errorText(answer), /[\u0000-\u001f\u007f-\u009f]/);
      assert.type(overrideFault(answer, "Pxe", "UEFI") ?? "", "string");
      const list = textsAt(answer, "Members");
      const choice = allowed(["On", "Off"], list);
      assert.ok(choice === undefined || ["On", "Off"].includes(choice));
    }),
    { numRuns: 2_000 },
  );
});

test("a location is the service's own or none", () => {
  const base = new URL("https://10.0.0.9:443");
  fc.assert(
    fc.property(
      fc.oneof(fc.webUrl(), fc.string(), fc.constantFrom("//evil.test/redfish/v1", "https:redfish/v1")),
      (text) => {
        const path = ownLocation(text, base);
        assert.ok(path === undefined || isOwnPath(path));
      },
    ),
  );
  assert.is(ownLocation("https://10.0.0.9/redfish/v1/TaskService/Tasks/1", base), "/redfish/v1/TaskService/Tasks/1");
  assert.is(ownLocation("https://10.0.0.10/redfish/v1/TaskService/Tasks/1", base), undefined);
  for (const path of ["/redfish/v1/..", "/redfish/v1/%2e%2e/x", "/redfish/v1/a\nb", "/redfishx", "/redfish/v1/a b"])
    assert.not.ok(isOwnPath(path), path);
});

test("nesting is counted as JSON means it, strings passed over", () => {
  assert.ok(nestsWithin('{"a":"[[[[","b":["\\"[["]}', 2));
  assert.not.ok(nestsWithin("[[[]]]", 2));
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
      assert.ok(nestsWithin(JSON.stringify(value), 6));
    }),
  );
});

test("a console keeps its newest bytes and no more", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), fc.integer({ min: 1, max: 100 }), (chunks, most) => {
      const kept = ring(most);
      for (const chunk of chunks) if (chunk.length > 0) kept.push(Buffer.from(chunk));
      const all = Buffer.concat(chunks.map((chunk) => Buffer.from(chunk)));
      assert.equal(kept.bytes(), all.subarray(Math.max(0, all.length - most)));
    }),
  );
});

test("nothing that is typed reaches ipmitool's own commands: a ~ at the start of a line is one for the machine", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(0x7e, 0x2e, 0x0d, 0x61), { maxLength: 30 }), (typed) => {
      const { bytes } = escaped(Buffer.from(typed), true);
      // As ipmitool reads it: `~~` at the start of a line is one `~`, any other `~x` there is a command.
      const read: number[] = [];
      let start = true;
      for (let at = 0; at < bytes.length; at++) {
        if (start && bytes[at] === 0x7e) assert.is(bytes[++at], 0x7e);
        read.push(bytes[at]!);
        start = bytes[at] === 0x0d;
      }
      assert.equal(read, typed);
    }),
  );
});

test("~. leaves at the start of a line and nowhere else; ~~ is one ~", async () => {
  const through = async (text: string): Promise<[string, boolean]> => {
    let left = false;
    const typed = untilLeft(() => {
      left = true;
    });
    typed.end(text);
    let out = "";
    for await (const chunk of typed) out += String(chunk);
    return [out, left];
  };
  assert.equal(await through("~."), ["", true]);
  assert.equal(await through("ls\r~."), ["ls\r", true]);
  assert.equal(await through("cd ~.\r"), ["cd ~.\r", false]);
  assert.equal(await through("~~.\r"), ["~.\r", false]);
  assert.equal(await through("~x"), ["~x", false]);
});

test("a magic packet is six bytes of ones and the card's address sixteen times", () => {
  const packet = magicPacket("52:54:00:12:34:56");
  assert.is(packet.length, 102);
  assert.is(packet.toString("hex"), "ff".repeat(6) + "525400123456".repeat(16));
});

test.run();
