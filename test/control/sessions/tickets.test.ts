// Tickets: once, in time, for the session they were asked for; and no number of them fills anything.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Fault } from "#api/fault.ts";
import { sessionTickets, TICKET_TTL_MS } from "../../../control/sessions/tickets.ts";

const PATH = "/v1/jobs/job-1/exec";
const refusal = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    assert.instance(error, Fault);
    return (error as Fault).code;
  }
  return "taken";
};

test("a ticket is taken once, and names who asked for it", () => {
  const tickets = sessionTickets({ monotonicMs: () => 0 });
  const ticket = tickets.issue("ann", PATH);
  const other = tickets.issue("bob", PATH);
  assert.is.not(ticket, other);
  assert.ok(Buffer.from(ticket, "base64url").length >= 32);
  assert.is(tickets.redeem(ticket, PATH), "ann");
  assert.is(
    refusal(() => tickets.redeem(ticket, PATH)),
    "unauthenticated",
  );
  assert.is(tickets.redeem(other, PATH), "bob");
  assert.is(tickets.size, 0);
});

test("shown for another session it is refused, and spent", () => {
  const tickets = sessionTickets({ monotonicMs: () => 0 });
  for (const elsewhere of ["/v1/jobs/job-2/exec", "/v1/jobs/job-1/attach", `${PATH}?port=80`, `${PATH}/`, ""]) {
    const ticket = tickets.issue("ann", PATH);
    assert.is(
      refusal(() => tickets.redeem(ticket, elsewhere)),
      "forbidden",
      elsewhere,
    );
    assert.is(
      refusal(() => tickets.redeem(ticket, PATH)),
      "unauthenticated",
      elsewhere,
    );
  }
});

test("it is good until its time is over, and what was never given is none", () => {
  let nowMs = 1_000;
  const tickets = sessionTickets({ monotonicMs: () => nowMs });
  const [first, second] = [tickets.issue("ann", PATH), tickets.issue("ann", PATH)];
  nowMs += TICKET_TTL_MS - 1;
  assert.is(tickets.redeem(first, PATH), "ann");
  nowMs += 1;
  for (const ticket of [second, "", "x".repeat(43), "__proto__"])
    assert.is(
      refusal(() => tickets.redeem(ticket, PATH)),
      "unauthenticated",
    );
});

test("a flood of one holder stops at its bound and leaves room for others; a flood of many stops at the bound of all", () => {
  let nowMs = 0;
  const tickets = sessionTickets({ monotonicMs: () => nowMs, holderMost: 5, most: 12 });
  const asked = (holder: string) => refusal(() => tickets.issue(holder, PATH));
  const answers = Array.from({ length: 1_000 }, () => asked("mallory"));
  assert.is(answers.filter((answer) => answer === "taken").length, 5);
  assert.equal([...new Set(answers)], ["taken", "rate-limited"]);
  const ann = tickets.issue("ann", PATH);
  for (let n = 0; n < 100; n++) asked(`m${n}`);
  assert.is(tickets.size, 12);
  assert.is(tickets.redeem(ann, PATH), "ann");
  nowMs += TICKET_TTL_MS;
  assert.is(asked("mallory"), "taken");
  assert.is(tickets.size, 1);
});

test.run();
