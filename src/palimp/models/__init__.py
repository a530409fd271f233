"""Models the engine can ask: embedders, language models. Importing this package loads none."""
