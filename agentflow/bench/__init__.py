"""The harness that users run: suites of tasks, the loop that works them off, metrics with formulas, a report.

What is measured is the whole loop: the model writes, the tools really run, and the state of the world is checked at the
end. Speed is only ever reported beside success.
"""
