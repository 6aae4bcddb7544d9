"""What a model file costs and what it is worth: size, latency, memory and quality, each measured.

Nothing is imported here: take each function from its own module, for example
`from lissom.measure.latency import compare_speed`.
"""
