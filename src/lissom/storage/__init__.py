"""The archive: model files at their entropy, bit-exactly. The format is in FORMAT.md."""
