"""Whatever the OpenAPI schema allows, and much that it does not, is answered as it says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from studio.conftest import HOST, TOKEN

HERE = {"host": HOST}  # as a browser names it
KNOWN = HERE | {"authorization": f"Bearer {TOKEN}"}
ROUTES = 15
LATENT = 4


@pytest.fixture(scope="module")
def operations(studio) -> list:
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", studio, headers=KNOWN)
    return [found.ok() for found in schema.get_all_operations()]


def test_every_route_is_there(operations):
    assert len(operations) == ROUTES
    assert all(its.definition.raw["description"] for its in operations)


@pytest.mark.parametrize(
    ("mode", "number"),
    [
        *((GenerationMode.POSITIVE, number) for number in range(ROUTES)),
        *((GenerationMode.NEGATIVE, number) for number in range(1, ROUTES)),  # the first has nothing that could be wrong
    ],
)
def test_every_route_keeps_to_its_schema(operations, mode, number):
    @settings(max_examples=25 if mode is GenerationMode.POSITIVE else 10, suppress_health_check=list(HealthCheck))
    @given(operations[number].as_strategy(generation_mode=mode))
    def ask(case):
        if mode is GenerationMode.POSITIVE and "run" in case.path_parameters:
            case.path_parameters["run"] = "shapes"  # else all that is asked about a run is of one that is not there
            if isinstance(case.body, dict) and "z" in case.body:
                case.body["z"] = [[*row, 0, 0, 0, 0][:LATENT] for row in case.body["z"]]
        # That a body is of this model is more than a schema can say.
        got = case.call_and_validate(headers=KNOWN, excluded_checks=[positive_data_acceptance])
        assert got.status_code not in (401, 403), "it got no further than the guard"

    ask()


@pytest.mark.parametrize("number", range(ROUTES))
def test_every_route_tells_a_stranger_nothing_in_the_form_of_its_schema(operations, number):
    @settings(max_examples=5, suppress_health_check=list(HealthCheck))
    @given(operations[number].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case):
        got = case.call_and_validate(headers=HERE, excluded_checks=[positive_data_acceptance])
        assert got.status_code == 401
        assert got.json().keys() == {"error"}

    ask()
