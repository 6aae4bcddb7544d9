"""What a model file costs and what it is worth: size, latency, memory, quality, each measured."""
