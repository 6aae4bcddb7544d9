"""Where the error of a compressed network comes from, layer by layer."""
