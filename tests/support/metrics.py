"""Read `/metrics` of a running application."""

import httpx2 as httpx
from prometheus_client.parser import text_string_to_metric_families


class Metrics:
    """Parsed metrics of one response of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for one in text_string_to_metric_families(text) for sample in one.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sum of samples with this name and these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def get_metrics(client: httpx.AsyncClient) -> Metrics:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert response.headers["Cache-Control"] == "no-store"
    return Metrics(response.text)
