"""Clients that others wrote, unmodified. Each is a small program of its own, run where the client is installed.

pip install -c constraints.txt -e '.[clients]'      LangChain and LiteLLM; in another environment than the tests',
                                                    VITRINE_CLIENTS=/path/to/its/python names it
npm install --prefix tests/contract/clients         `openai` and `ai`, for Node
VITRINE_GUIDELLM=/path/to/guidellm                  guidellm asks for a torch of its own: an environment of its own
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.loader import find_checkpoint
from tests.contract.servers import Process, environment

pytestmark = [pytest.mark.needs("http", "chat", "streaming", "sampling", ends=True), pytest.mark.slow]
CLIENTS = Path(__file__).parent / "clients"
PYTHON = os.environ.get("VITRINE_CLIENTS", sys.executable)
GUIDELLM = os.environ.get("VITRINE_GUIDELLM") or shutil.which("guidellm")


def run(argv: list[str], **more: str) -> str:
    env = environment(no_proxy="*", LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false", **more)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=env, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "program"),
    [("langchain_openai", "langchain_chat.py"), ("litellm", "litellm_chat.py")],
    ids=["langchain", "litellm"],
)
def test_a_client_in_python(server: Process, module: str, program: str):
    found = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"{module} is not installed: pip install -c constraints.txt -e '.[clients]'")
    run([PYTHON, str(CLIENTS / program), server.url, server.model])


@pytest.mark.parametrize(
    ("package", "program"), [("openai", "openai_chat.mjs"), ("ai", "ai_chat.mjs")], ids=["openai", "ai"]
)
def test_a_client_in_node(server: Process, package: str, program: str):
    if shutil.which("node") is None:
        pytest.skip("there is no Node")
    if not (CLIENTS / "node_modules" / package).is_dir():
        pytest.skip(f"{package} is not installed: npm install --prefix {CLIENTS}")
    run(["node", str(CLIENTS / program), server.url, server.model])


@pytest.mark.skipif(GUIDELLM is None, reason="guidellm is not installed; VITRINE_GUIDELLM names its command")
def test_guidellm_streams_and_measures(server: Process, tmp_path: Path):
    report = tmp_path / "report.json"
    run(
        [
            str(GUIDELLM),
            "run",
            "--backend",
            f"kind=openai_http,target={server.url},model={server.model}",
            "--profile",
            "kind=concurrent,streams=2",
            "--constraint",
            "kind=max_requests,count=16",
            "--tokenizer",
            f"kind=huggingface_auto,model={find_checkpoint(server.model)}",
            "--data",
            "kind=synthetic_text,prompt_tokens=16,output_tokens=16",
            "--output",
            f"kind=json,path={report}",
            "--disable-console",
        ]
    )
    totals = json.loads(report.read_text())["benchmarks"][0]["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (16, 0)
