"""An address of a Ray cluster that has ended is named before anything starts."""

import socket

import pytest

from spo_data import UserError
from spo_data.ray_address import refuse_stale_address


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_refused(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM and verl tried such an address for minutes, and said nothing meanwhile."""
    address = f"{scheme}127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError) as raised:
        refuse_stale_address()
    assert str(raised.value) == (
        f"RAY_ADDRESS is {address}, where no Ray cluster answers (Connection refused): unset it, or start that cluster"
    )


@pytest.mark.parametrize("address", ["auto", "local", "", None])
def test_an_address_that_names_no_host_is_taken(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    else:
        monkeypatch.setenv("RAY_ADDRESS", address)
    refuse_stale_address()


def test_an_address_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{listening.getsockname()[1]}")
        refuse_stale_address()
