"""Every Redis key that the gateway owns; they live in the cache server."""

from sentinel import config


def token(token_hash: str) -> str:
    """String, JSON: who this token belongs to, or that Zion rejected it. Never the token."""
    return f"{config.get().redis_key_prefix}jwt:{token_hash}"


def token_lock(token_hash: str) -> str:
    """String: somebody is asking Zion about this token."""
    return f"{config.get().redis_key_prefix}jwt-lock:{token_hash}"


def login_failures(what: str) -> str:
    """String, counter: failed logins to the admin from an address, to an account, or both. Names are hashed."""
    return f"{config.get().redis_key_prefix}login-failures:{what}"


def object_owner(object_id: str) -> str:
    """String: the external id of the user who created a stored object of the provider's. Lives in the ledger."""
    return f"{config.get().redis_key_prefix}object:{object_id}"
