-- COUNT widgets for each thread and no more, then nothing that matters until all are answered. wrk throws its first request away.
local run, count = os.getenv("RUN"), tonumber(os.getenv("COUNT"))
local n, created = 0, 0
local before, after, nothing
function init()
  before, after = around()
  nothing = text("GET", "/version")
end
function request()
  n = n + 1
  if n > count + 1 then return nothing end
  return before .. name(run, id, n) .. after
end
function response(status)
  if status == 201 then
    created = created + 1
    if created == count then wrk.thread:stop() end
  end
end
