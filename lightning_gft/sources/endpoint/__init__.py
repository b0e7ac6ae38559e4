"""A teacher on a server: address, requests, replies, and the client."""

from lightning_gft.sources.endpoint.source import EndpointSource

__all__ = ["EndpointSource"]
