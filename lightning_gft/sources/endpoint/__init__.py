"""A teacher behind a server: what is asked, what came back, and who asks."""

from lightning_gft.sources.endpoint.source import EndpointSource

__all__ = ["EndpointSource"]
