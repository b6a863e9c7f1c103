// Takes off a request what its Connection header names: that is for one hop only, and a proxy passes none of it on (RFC 9110 7.6.1).
// HAProxy 2.6 has no rule that removes a header whose name is in another one; this runs for the few requests that name any.

export const HOP_SCRIPT = "hop.lua";
export const DROP_NAMED = "drop_named";
/** Set for a request that names more than anybody means. */
export const TOO_MANY_NAMED = "txn.named_too_many";
const NAMED_MOST = 50;

/** What frames a request and where it goes is no option of a connection, whoever names it. */
export const hopScript = `\
local kept = { host = true, connection = true, upgrade = true, te = true, ["content-length"] = true, ["transfer-encoding"] = true }
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
