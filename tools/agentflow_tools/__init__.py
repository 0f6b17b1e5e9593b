"""Ready-made tools for agents, one file each: every factory gives a list of tools to hand to an agent.

    Agent("embedded", tools=[*calculator(), *files("workspace"), *clock()])

They use nothing of agentflow but its public door, so they also show how to write tools of one's own. Whatever a model
asks of them changes nothing outside what the factory was given: one folder, one database, one notebook, public pages.
"""

from agentflow_tools.calculator import calculator
from agentflow_tools.clock import clock
from agentflow_tools.files import files
from agentflow_tools.notes import notes
from agentflow_tools.sqlite import sqlite
from agentflow_tools.web import web

__all__ = ["calculator", "clock", "files", "notes", "sqlite", "web"]
