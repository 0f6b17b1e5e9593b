"""The commands: what a person types and what the terminal shows.

Nothing here decides anything: commands read their arguments, call the library and print what it returns.
Starting up imports neither torch nor the library's rooms; each command imports what it needs.
"""
