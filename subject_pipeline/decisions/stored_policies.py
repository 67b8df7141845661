"""The store's policies: `catalog/policies.json`, under a MAC, so that only a holder of the key ring can change them."""

from pathlib import Path

import orjson
import yaml

from subject_pipeline.decisions.policies import Policies
from subject_pipeline.errors import CanonicalJsonError, PolicyError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.keys.macs import Mac, Macs
from subject_pipeline.store.layout import POLICIES_KEY
from subject_pipeline.store.opened import SubjectStore

POLICIES_SCHEMA = "subject_policies.v1"
POLICIES_DOMAIN = b"subject-policies/v1"
_LIMIT = 1 << 20


def read_policies_file(path: Path) -> Policies:
    """The policies that a YAML file declares.

    Raises:
        PolicyError: it cannot be read, or declares something that no policy can say.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"cannot read policies from {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise PolicyError(f"cannot read policies from {path}: {error}") from error
    try:
        return Policies.parse(value)
    except PolicyError as error:
        raise PolicyError(f"cannot use the policies of {path}: {error}") from error


def stored_policies(store: SubjectStore) -> Policies:
    """The policies that were applied to a store; the default ones where none ever were.

    Raises:
        PolicyError: what is stored was not written with a key of this ring, or is damaged.
        KeyRingError: policies are stored, and there is no key ring to check them with.
        StoreError: the store failed.
    """
    data = store.objects.get(POLICIES_KEY, limit=_LIMIT)
    if data is None:
        return Policies()
    try:
        line = orjson.loads(data)
        inner = canonical_json(line["policies"])
        mac = Macs(store.ring.key, POLICIES_DOMAIN).get(line["policies"]["key_id"])
        if mac is not None and mac.matches(line["mac"], inner) and line["policies"]["schema"] == POLICIES_SCHEMA:
            return Policies.parse(line["policies"]["rules"])
    except (orjson.JSONDecodeError, CanonicalJsonError, KeyError, TypeError, AttributeError) as error:
        raise PolicyError(f"cannot use {POLICIES_KEY}: it is damaged; {_ADVICE}") from error
    raise PolicyError(f"cannot use {POLICIES_KEY}: it was not written with a key of this ring; {_ADVICE}")


def store_policies(store: SubjectStore, policies: Policies) -> bool:
    """Write policies in the place of those that are there; False: they are these already.

    Raises:
        KeyRingError: there is no usable key ring.
        StoreError: the store failed.
    """
    keys = store.ring.ring()
    inner = canonical_json(
        {"schema": POLICIES_SCHEMA, "key_id": keys.active, "rules": orjson.loads(policies.canonical)}
    )
    mac = Mac(keys.active_key, POLICIES_DOMAIN).hex(inner)
    data = b'{"mac":"%b","policies":%b}\n' % (mac.encode(), inner)
    if store.objects.get(POLICIES_KEY, limit=_LIMIT) == data:
        return False
    store.objects.replace(POLICIES_KEY, data)
    return True


_ADVICE = "find out who wrote it, and run `subject-pipeline policies apply FILE` again"
