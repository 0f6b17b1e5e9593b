"""Operations of published web APIs as functions: ``operations.txt``, and the program that writes it.

    python -m agentflow.embedded.data.operations --package PACKAGE --schemas function-schemas.jsonl

`wording` makes names, summaries and wishes of what is written in a description, `kinds` guesses what values an
argument takes, `openapi` reads the descriptions, `__main__` chooses and writes. Conversations are made of the file
by `agentflow.embedded.data.clauses.operations`; they need none of the rest.
"""
