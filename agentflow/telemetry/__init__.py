"""Watching runs from outside: OpenTelemetry spans and metrics, and the log of the standard library.

Both are observers of runs. A run without one makes nothing and pays nothing. Prompts, arguments and results stay out
unless they are asked for, and then secrets are taken out of them.
"""

from agentflow.telemetry.logs import LogWriter
from agentflow.telemetry.redaction import redact
from agentflow.telemetry.spans import Telemetry

__all__ = ["LogWriter", "Telemetry", "redact"]
