"""The example for AWS: what must fit together in its template does, and its handler delivers a recorded event."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.events import visitor
from tests.lambda_events import Context, event, failed, message, record
from tests.links import clear_environment
from tests.picky import PickyServer

yaml = pytest.importorskip("yaml")

AWS = Path(__file__).resolve().parent.parent / "examples" / "aws"


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types here
    """Reads CloudFormation's short forms as what they stand for."""


def _short_form(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    return {suffix: loader.construct_scalar(node)}


Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    with (AWS / "template.yaml").open(encoding="utf-8") as file:
        return dict(yaml.load(file, Loader)["Resources"])


def properties(resources: dict[str, Any], name: str, kind: str) -> dict[str, Any]:
    assert resources[name]["Type"] == kind
    return dict(resources[name]["Properties"])


def queue(resources: dict[str, Any], name: str = "Events") -> dict[str, Any]:
    return properties(resources, name, "AWS::SQS::Queue")


def function(resources: dict[str, Any]) -> dict[str, Any]:
    return properties(resources, "Function", "AWS::Lambda::Function")


def mapping(resources: dict[str, Any]) -> dict[str, Any]:
    return properties(resources, "Mapping", "AWS::Lambda::EventSourceMapping")


def allowed(document: dict[str, Any]) -> dict[str, set[str]]:
    """What a policy allows, by resource; there is nothing else in it."""
    found: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        assert statement.keys() == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        action = statement["Action"]
        found.setdefault(statement["Resource"]["GetAtt"], set()).update([action] if isinstance(action, str) else action)
    return found


def test_the_queue_hides_a_batch_for_six_times_the_timeout_and_the_window(resources: dict[str, Any]) -> None:
    window = mapping(resources)["MaximumBatchingWindowInSeconds"]
    assert queue(resources)["VisibilityTimeout"] == 6 * function(resources)["Timeout"] + window


def test_the_mapping_reports_failures_and_is_between_queue_and_function(resources: dict[str, Any]) -> None:
    found = mapping(resources)
    assert found["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert (found["EventSourceArn"], found["FunctionName"]) == ({"GetAtt": "Events.Arn"}, {"GetAtt": "Function.Arn"})


def test_a_batch_of_packed_messages_is_no_more_than_lambda_hands_over(resources: dict[str, Any]) -> None:
    assert mapping(resources)["BatchSize"] * 64_000 * 2 <= 6_000_000  # twice, for what JSON escapes


def test_the_queue_outlives_an_outage_of_two_days_before_it_gives_messages_up(resources: dict[str, Any]) -> None:
    found = queue(resources)
    redrive = found["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"GetAtt": "DeadLetters.Arn"}
    assert redrive["maxReceiveCount"] * found["VisibilityTimeout"] >= 2 * 86_400
    assert 2 * 86_400 < found["MessageRetentionPeriod"] < queue(resources, "DeadLetters")["MessageRetentionPeriod"]


def test_the_function_has_the_rights_that_it_needs_and_no_more(resources: dict[str, Any]) -> None:
    role = properties(resources, "FunctionRole", "AWS::IAM::Role")
    (policy,) = role["Policies"]
    assert "ManagedPolicyArns" not in role
    assert allowed(policy["PolicyDocument"]) == {
        "Events.Arn": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
        "DeadLetters.Arn": {"sqs:SendMessage"},
        "Logs.Arn": {"logs:CreateLogStream", "logs:PutLogEvents"},
    }


def test_a_producer_may_send_and_nothing_else(resources: dict[str, Any]) -> None:
    policy = properties(resources, "ProducerPolicy", "AWS::IAM::ManagedPolicy")
    assert allowed(policy["PolicyDocument"]) == {"Events.Arn": {"sqs:SendMessage"}}


def test_the_function_runs_what_is_there_with_variables_that_it_knows(resources: dict[str, Any]) -> None:
    from gevent_dispatcher.aws_lambda import make_handler
    from gevent_dispatcher.aws_lambda._environment import settings_of

    found = function(resources)
    module, _, name = found["Handler"].rpartition(".")
    assert (module, name) == (make_handler.__module__.rpartition(".")[0], "handler")
    variables = found["Environment"]["Variables"]
    assert variables["GEVENT_DISPATCHER_DEAD_LETTER_URL"] == {"Ref": "DeadLetters"}
    assert settings_of(dict.fromkeys(variables, "")) == {}
    assert settings_of(dict.fromkeys(variables, "1"))["legacy"].account_id == "1"


def test_the_handler_delivers_a_recorded_event(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clear_environment(monkeypatch)
    old = visitor("old")
    with PickyServer(lambda visitors: 204) as server:
        for name, value in (("EVENTS_URL", server.url), ("ACCOUNT_ID", "12001"), ("PROJECT_ID", "111001")):
            monkeypatch.setenv(name, value)
        handler = example("handler").handler
        texts = [message(server.url, "a", "b"), json.dumps({"old": [old["attributes"], old["snapshots"][0]]})]
        with caplog.at_level(logging.INFO, "events"):
            answer = handler(event(*map(record, texts)), Context())
        assert failed(answer) == []
        assert set(server.accepted) == {"a", "b", "old"}
    said = [each.getMessage().split(" in ")[0] for each in caplog.records if each.name == "events"]
    assert sorted(said) == ["DELIVERED: 1 events", "DELIVERED: 2 events"]


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"examples_aws_{name}", AWS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
