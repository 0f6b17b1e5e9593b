"""Conversations to train and test the embedded model on, made from a seed.

`values` draws what is talked about, `tools` what can be called, `phrasings` how things are said,
`tasks` strings calls into a task and plays it, `extraction` asks for JSON without a tool, and
`conversations` mixes all of them. Equal seeds give equal conversations.
"""
