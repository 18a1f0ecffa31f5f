import pytest

from catdog.errors import InputError
from catdog.model import FullyConnected
from catdog.model.optimization import build_optimizer
from conftest import make_classifier


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam"])
def test_any_optimizer_of_pytorch_is_built_by_its_name(name: str) -> None:
    network = FullyConnected(2, [], seeds=[0])
    for decay in (0.0, 0.5):
        optimizer = build_optimizer(network, name, lr=0.1, weight_decay=decay)
        group = optimizer.param_groups[0]
        assert (type(optimizer).__name__, group["lr"], group["weight_decay"]) == (name, 0.1, decay)


def test_what_is_no_optimizer_for_these_nets_is_refused() -> None:
    with pytest.raises(InputError, match="model.optimizer must be ASGD, .* or SGD, got 'adamW'; .* AdamW"):
        make_classifier(optimizer="adamW")
    for name, decay in (("Muon", 0.0), ("Rprop", 0.5)):  # for weights in two dimensions; one without weight decay
        with pytest.raises(InputError, match=f"model.optimizer={name} does not fit"):
            build_optimizer(FullyConnected(2, [], seeds=[0]), name, lr=0.1, weight_decay=decay)
