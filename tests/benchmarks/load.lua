-- What wrk sends: the requests in the files that follow `--`, in turn, each with a key of its own where it asks for one.
-- It prints what generator.py reads as one line of JSON.

local KEY, DIGITS = "key-of-each-request-000000000000", 12
local parts = {}

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(args)
  first = tonumber(args[1]) -- the number of the first request, so that no run repeats the keys of another
  for index = 2, #args do
    local text = read(args[index])
    local at = string.find(text, KEY, 1, true)
    if at then
      local digits = at + #KEY - DIGITS
      parts[#parts + 1] = { string.sub(text, 1, digits - 1), string.sub(text, digits + DIGITS) }
    else
      parts[#parts + 1] = text
    end
  end
  sent = 0
end

function request()
  local part = parts[sent % #parts + 1]
  sent = sent + 1
  if type(part) == "string" then
    return part
  end
  return part[1] .. string.format("%012d", first + sent) .. part[2]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"answers": %d, "refused": %d, "cut": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  ))
end
