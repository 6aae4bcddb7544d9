"""Steps, the store that keeps them, and the engine that runs them."""
