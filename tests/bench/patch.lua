-- A merge patch that changes one of the widgets that load.py made.
local n = 0
function request()
  n = n + 1
  return text("PATCH", widgets .. "/" .. name("seeded", id, 1 + n % 900), '{"spec":{"replicas":' .. (n % 400) .. '}}', "application/merge-patch+json")
end
