"""The block-diffusion backend: a canvas of noise becomes a turn in a few denoising steps.

`loader` reads a checkpoint, `denoiser` runs the network, `sampler` holds the mathematics of one step, `beliefs`
joins the network's distribution with the schema's automaton, `canvas` is the state of one turn in the making,
`engine` runs the open canvases of many requests in shared forward passes, `backend` speaks the `Backend` protocol.
Importing a module of this package imports torch.
"""
