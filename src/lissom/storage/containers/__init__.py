"""Where the tensors are in the files models are kept in; nothing is parsed further than that."""
