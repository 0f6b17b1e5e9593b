"""agentflow: agents whose model drafts in parallel."""
