"""Counts of the server in the text format of Prometheus."""

from pathlib import Path

from starlette.testclient import TestClient

from serve.api import create_app
from tests.serve.small_service import ENGLISH, make_service


def test_metrics_count_requests_characters_and_batches(folder: Path) -> None:
    with TestClient(create_app(make_service(folder), "1")) as client:
        for q in (ENGLISH, ""):
            client.post("/translate", json={"q": q, "source": "en", "target": "de"})
        client.get("/nothing/secret")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'paper_transformer_requests_total{route="/translate",status="200"} 1.0' in lines
    assert 'paper_transformer_requests_total{route="/translate",status="400"} 1.0' in lines
    assert 'paper_transformer_requests_total{route="(other path)",status="404"} 1.0' in lines
    assert f'paper_transformer_characters_total{{source="en",target="de"}} {float(len(ENGLISH))}' in lines
    assert 'paper_transformer_batch_requests_bucket{le="1.0"} 1.0' in lines
    assert "paper_transformer_waiting_requests 0.0" in lines
    assert "secret" not in answer.text
