"""Where the emulator in the process sends webhooks: to its own shop on a developer's machine, else where it is told."""

import socket

import pytest

from quickcommerce import settings as settings_module
from quickcommerce.serve import _told_of

OWN = {"QC_JWT_SECRET": "0123456789abcdef0123456789abcdef", "QC_PG_SECRET_KEY": "test_gsk_x"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"QC_PROFILE": "local"}, "http://127.0.0.1:{port}/webhooks/toss"),
        ({"QC_PROFILE": "local", "QC_PG_WEBHOOK_URL": "http://127.0.0.1:9/x"}, "http://127.0.0.1:9/x"),
        ({"QC_PROFILE": "local", "QC_PG_URL": "http://127.0.0.1:9900"}, ""),
        ({"QC_PROFILE": "test"}, ""),
        ({"QC_PROFILE": "dev", **OWN}, ""),
    ],
    ids=str,
)
def test_a_visitor_sees_webhooks_without_setting_anything(environment: dict[str, str], told: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        found = _told_of(settings_module.load(environment), listener)
    assert found.pg_webhook_url == told.format(port=port)
