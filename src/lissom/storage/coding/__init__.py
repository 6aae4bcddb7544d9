"""What a block of a tensor can be turned into; FORMAT.md specifies each."""
