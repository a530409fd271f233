-- What wrk asks: wrk ... URL -- METHOD FILE TAG [CREDENTIAL]
--
-- Each line of FILE is a path, a tab and a body; they are asked in turn. `{n}` in a body becomes
-- TAG and the number of the request, so that no two requests of a benchmark write the same text.

local lines, tag, count = {}, "", 0

function init(args)
  wrk.method, tag = args[1], args[3]
  wrk.headers["Content-Type"] = wrk.method == "POST" and "application/json" or nil
  wrk.headers["Authorization"] = args[4]
  for line in io.lines(args[2]) do
    local path, body = line:match("^(.-)\t(.*)$")
    body = body ~= "" and body or nil
    local open = body and body:find("{n}", 1, true)
    lines[#lines + 1] = open and { path, body } or wrk.format(nil, path, nil, body)
  end
end

function request()
  count = count + 1
  local line = lines[count % #lines + 1]
  if type(line) == "string" then
    return line
  end
  return wrk.format(nil, line[1], nil, (line[2]:gsub("{n}", tag .. " " .. count)))
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"lost":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
