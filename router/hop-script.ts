// Takes off a request what its Connection header names: that is for one hop only, and a proxy passes none of it on (RFC 9110 7.6.1).
// HAProxy 2.6 has no rule that removes a header whose name is in another one; this runs for the few requests that name any.

export const HOP_SCRIPT = "hop.lua";
export const DROP_NAMED = "drop_named";
/** Set for a request that names more than anybody means. */
export const TOO_MANY_NAMED = "txn.named_too_many";
const NAMED_MOST = 50;

/**
 * No option of a connection, whoever names it: what frames a request and where it goes, and what a front says of its client, who may
 * have written the Connection that the front passed on.
 */
const KEPT = [
  "host connection upgrade te content-length transfer-encoding",
  "forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-real-ip x-request-id",
].flatMap((names) => names.split(" "));

export const hopScript = `\
local kept = { ${KEPT.map((name) => `["${name}"] = true`).join(", ")} }
core.register_action("${DROP_NAMED}", { "http-req" }, function(txn)
  local values = txn.http:req_get_headers()["connection"] or {}
  local names = 0
  for _, value in pairs(values) do
    for name in string.gmatch(string.lower(value), "[^,%s]+") do
      names = names + 1
      if names > ${NAMED_MOST} then
        txn:set_var("${TOO_MANY_NAMED}", true)
        return
      end
      if not kept[name] then txn.http:req_del_header(name) end
    end
  end
end)
`;
