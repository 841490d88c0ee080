-- A new widget with every request. RUN: six characters of their names.
local run, n = os.getenv("RUN"), 0
local before, after
function init()
  before, after = around()
end
function request()
  n = n + 1
  return before .. name(run, id, n) .. after
end
