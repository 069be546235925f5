"""The OpenAPI document, and schemathesis making requests from it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.servers import Process

pytestmark = pytest.mark.needs("http")


def test_the_document_lists_every_endpoint(server: Process):
    document = server.http.get("/openapi.json").json()
    assert {"/", "/health", "/v1/models", "/v1/completions", "/v1/chat/completions"} <= set(document["paths"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path}"


@pytest.mark.slow
@pytest.mark.needs(ends=True)
def test_requests_made_from_the_document_never_get_a_5xx(server: Process):
    import schemathesis

    schema = schemathesis.openapi.from_dict(server.http.get("/openapi.json").json())
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def check(case):
            response = case.call(base_url=server.url, timeout=60)
            assert response.status_code < 500, response.text

        check()
        count += 1
    assert count >= 6
    assert server.complete("Hi", max_tokens=1).status_code == 200
