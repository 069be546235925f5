"""The OpenAPI document, and schemathesis making requests from it."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.servers import Process
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http")


def test_the_document_lists_every_endpoint(server: Process):
    document = server.http.get("/openapi.json").json()
    assert {"/", "/health", "/v1/models", "/v1/completions", "/v1/chat/completions"} <= set(document["paths"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path}"


def test_the_document_declares_the_errors_that_are_sent(subject: Subject, server: Process):
    document = server.http.get("/openapi.json").json()
    assert "422" not in json.dumps(document)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    wanted = {"400", "404", "413", "503"} | ({"429"} if "bounded_queue" in subject.capabilities else set())
    for path in ("/v1/completions", "/v1/chat/completions"):
        answers = document["paths"][path]["post"]["responses"]
        assert wanted <= set(answers)
        assert ("429" in answers) == ("429" in wanted)
        for status in wanted:
            assert answers[status]["content"]["application/json"]["schema"]["$ref"].endswith("ErrorBody")
    shape = document["components"]["schemas"]["ErrorDetail"]["properties"]
    assert set(shape) == set(server.complete("").json()["error"])


PAGES = ("/docs", "/queue")


def test_pages_work_without_a_network_and_behind_a_path(server: Process):
    served = [page for page in (server.http.get(path) for path in PAGES) if page.status_code == 200]
    assert served
    for page in served:
        assert page.headers["content-type"].startswith("text/html")
        assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", page.text)
        # An address from the root would miss the path in front.
        assert not re.findall(r"""(?:src|href|action)=["']?/|fetch\(["'`]/""", page.text)


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
