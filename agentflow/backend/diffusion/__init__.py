"""The block-diffusion backend: a canvas of noise becomes a turn in a few denoising steps.

`loader` reads a checkpoint; `denoiser` runs the network, `dense` and `packed` run small ones faster; `sampler` is the
mathematics of one step; `canvas` is the state of one turn in the making. A turn is written in one of three ways: `step`
denoises canvases under the schema's automaton, `check` has the encoder check what was drafted, `left_to_right` goes
token by token. `engine` runs the open turns of many requests in shared forward passes, `prefix` keeps what they have
read, `backend` speaks the `Backend` protocol.
Importing a module of this package imports torch.
"""
