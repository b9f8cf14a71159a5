"""The network of a yard's containers: made before the first of them, gone when the yard stops without any."""

from __future__ import annotations

import aiodocker

from modelyard.engines.docker import container as containers
from modelyard.engines.docker.container import Site


async def make(client: aiodocker.Docker, site: Site) -> str:
    """Have it; gives the address of this host in it, empty where it has none."""
    found = await client.networks.list(filters={"name": site.network})
    there = next((each for each in found if each["Name"] == site.network), None)
    if there is None:
        there = await (await client.networks.create(site.network_body())).show()
    gateways = [str(each["Gateway"]) for each in there["IPAM"]["Config"] or () if each.get("Gateway")]
    return gateways[0] if gateways else ""


async def leave(client: aiodocker.Docker, site: Site) -> None:
    """Remove it, unless a container of the yard is there: that lives on, and is found again."""
    if await client.containers.list(all=True, filters={"label": [f"{containers.YARD}={site.yard}"]}):
        return
    for each in await client.networks.list(filters={"name": site.network}):
        if each["Name"] == site.network:
            await (await client.networks.get(each["Id"])).delete()
