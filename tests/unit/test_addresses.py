"""Which hosts are one's own, by their names and addresses alone."""

import pytest

from palimp.addresses import is_self_hosted


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "[::1]",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.1.1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        # A name without a dot is one of the local network, whatever it says.
        "embedder",
        "Ollama",
        "tei.models.svc.cluster.local",
        "tei.models.svc.cluster.local.",
        "gpu.internal",
        "GPU.INTERNAL",
        "models.example.com",
        "models.example.com.",
    ],
)
def test_ones_own(host: str) -> None:
    assert is_self_hosted(host, {"models.example.com"})


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "api.openai.com",
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "100.64.0.1",
        "2001:db8::1",
        "::ffff:8.8.8.8",
        "internal.example.com",
        "a.svc.cluster.local.example.com",
        "evilmodels.example.com",
        "models.example.com.evil.org",
        "10.0.0.1.nip.io",
        "134744072",
        "0x08080808",
    ],
)
def test_of_others(host: str) -> None:
    assert not is_self_hosted(host, {"models.example.com"})
