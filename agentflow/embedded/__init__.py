"""The model that ships with agentflow: its data, training, evaluation and checkpoint.

The checkpoint folder beside this file is an ordinary Hugging Face folder of the DiffusionGemma
architecture; backends load it by its path and import nothing from here. Training and evaluation run
as ``python -m agentflow.embedded.train`` and ``python -m agentflow.embedded.evaluate``.
"""
