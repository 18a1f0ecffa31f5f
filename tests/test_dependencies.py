import tomllib

import pytest
from packaging.requirements import Requirement

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ALL = [*PROJECT["dependencies"], *(line for lines in PROJECT["optional-dependencies"].values() for line in lines)]
REQUIREMENTS = {requirement.name: requirement for requirement in map(Requirement, ALL)}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("lightning", "2.6.2"), ("lightning", "2.6.3"),  # compromised releases
        ("torch", "2.13.0"),  # resolves to a build that torchvision cannot be imported with
        ("filelock", "3.20.0"), ("filelock", "3.20.2"),  # CVE-2025-68146, CVE-2026-22701
        ("pillow", "12.1.0"), ("pillow", "12.2.0"),  # CVE-2026-25990, PYSEC-2026-2253 to 2257
    ],
)  # fmt: skip
def test_known_bad_releases_are_excluded(name: str, version: str) -> None:
    assert version not in REQUIREMENTS[name].specifier


def test_every_dependency_has_a_lower_bound() -> None:
    for name, requirement in REQUIREMENTS.items():
        assert name == "catdog" or any(bound.operator in (">=", "~=", "==") for bound in requirement.specifier), name
