"""Builds the documentation site: links, pages that are generated from the code, and the diagram."""
