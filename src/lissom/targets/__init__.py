"""The runtimes models live in, and the machine they run on."""
