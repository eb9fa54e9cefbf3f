"""Pretended devices: the engine's steps on a GPU, on two devices and on an Apple GPU, where there is none of them."""
