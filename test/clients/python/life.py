"""Registers, rotates and revokes with the client that openapi-python-client generated. Usage: life.py URL TOKEN"""

import sys
import uuid
from http import HTTPStatus

from client import AuthenticatedClient
from client.api.manage import get_registration, get_usage, revoke_registration, rotate_key
from client.api.register import register
from client.models import Credential, Problem, RegisterBody, RotatedCredential, RotateKeyBody

url, token = sys.argv[1:]


def new_key() -> str:
    return str(uuid.uuid4())


owner = AuthenticatedClient(base_url=url, token=token)
body = RegisterBody(name="acme-agent نرم‌افزار", description="nightly import")
key = new_key()
first = register.sync_detailed(client=owner, body=body, idempotency_key=key)
assert first.status_code == HTTPStatus.CREATED, first
credential = first.parsed
assert isinstance(credential, Credential) and credential.name == body.name, credential
assert credential.expires_at is None, credential
retry = register.sync(client=owner, body=body, idempotency_key=key)
assert isinstance(retry, Credential) and retry.api_key_value == credential.api_key_value, retry

manager = AuthenticatedClient(base_url=url, token=credential.management.token)
id = credential.registration_id
without_body = rotate_key.sync(id, client=manager, idempotency_key=new_key())
assert isinstance(without_body, RotatedCredential) and without_body.replaced, without_body
overlap = RotateKeyBody(overlap_seconds=0)
rotated = rotate_key.sync(id, client=manager, body=overlap, idempotency_key=new_key())
assert isinstance(rotated, RotatedCredential) and rotated.registration_id == id, rotated

registration = get_registration.sync(id, client=manager)
assert registration.api_key_id == rotated.api_key_id and registration.expires_at is None, registration
usage = get_usage.sync(id, client=manager)
assert len(usage.days) == 7, usage

for answer, code in (
    (register.sync(client=owner, body=RegisterBody(name="")), "invalid_request"),
    (register.sync(client=manager, body=body), "invalid_token"),
    (register.sync(client=owner, body=RegisterBody(name="a", plan="none")), "plan_not_allowed"),
    (register.sync(client=owner, body=RegisterBody(name="other"), idempotency_key=key), "idempotency_mismatch"),
    (get_registration.sync("reg_0", client=manager), "not_found"),
):
    assert isinstance(answer, Problem) and answer.code == code and answer.next_step, answer

revoked = revoke_registration.sync_detailed(id, client=manager)
assert revoked.status_code == HTTPStatus.NO_CONTENT and revoked.parsed is None, revoked
print("revoked", id)
