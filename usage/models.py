"""What people look at: delivered calls, batches, batches set aside, hourly totals, operator actions.

Written by workers and commands after the fact; the request path and delivery itself never read it.
"""

from typing import Any, ClassVar

from django.db import models
from django.dispatch import receiver

from limits.record import acted


class CallRecord(models.Model):
    """One delivered call: the answer to *why was I charged?* Kept for `HISTORY_DAYS`."""

    call_id = models.CharField("call", max_length=80, unique=True)
    request_id = models.CharField("request id", max_length=200, blank=True)
    external_id = models.CharField("external id", max_length=256)
    user_id = models.CharField("user id", max_length=256)
    email = models.CharField("e-mail", max_length=256)
    model = models.CharField("model", max_length=256)
    endpoint = models.CharField("endpoint", max_length=64)
    input = models.BigIntegerField("input tokens")
    output = models.BigIntegerField("output tokens")
    requests = models.BigIntegerField("requests")
    source = models.CharField("known from", max_length=16, help_text="provider, estimate, partial or reaped")
    admitted_at = models.DateTimeField("admitted at")
    batch_id = models.CharField("batch", max_length=32, db_index=True)
    delivered_at = models.DateTimeField("delivered at", db_index=True)
    # Parts of input and output. The database knows the zeros too: workers of the version before name no such columns.
    cached_input = models.BigIntegerField("cached input", default=0, db_default=0)
    audio_input = models.BigIntegerField("audio input", default=0, db_default=0)
    image_input = models.BigIntegerField("image input", default=0, db_default=0)
    reasoning_output = models.BigIntegerField("reasoning output", default=0, db_default=0)
    audio_output = models.BigIntegerField("audio output", default=0, db_default=0)

    class Meta:
        verbose_name = "delivered call"
        ordering: ClassVar = ["-admitted_at"]
        indexes: ClassVar = [
            models.Index(fields=["external_id", "-admitted_at"], name="call_by_user"),
            models.Index(fields=["-admitted_at"], name="call_by_time"),
            models.Index(fields=["source", "-admitted_at"], name="call_by_source"),
            models.Index(fields=["request_id"], name="call_by_request"),
            models.Index(fields=["email"], name="call_by_email"),
        ]

    def __str__(self) -> str:
        return f"{self.call_id} of {self.external_id}"


class BatchRecord(models.Model):
    """One delivered batch. Its row is also the mark that its calls are in the totals."""

    batch_id = models.CharField("batch", max_length=32, unique=True)
    idempotency_key = models.CharField("idempotency key", max_length=64)
    endpoint = models.CharField("sent to", max_length=16)
    items = models.PositiveIntegerField("items")
    calls = models.PositiveIntegerField("calls")
    tries = models.PositiveIntegerField("attempts", help_text="0: confirmed locally, nothing to send")
    origin = models.CharField("split from", max_length=32, blank=True)
    last_doubt = models.TextField("last doubt", blank=True)
    sealed_at = models.DateTimeField("sealed at")
    delivered_at = models.DateTimeField("delivered at", db_index=True)
    is_counted = models.BooleanField("in the totals", default=False, editable=False)

    class Meta:
        verbose_name = "batch"
        verbose_name_plural = "batches"
        ordering: ClassVar = ["-delivered_at"]
        indexes: ClassVar = [
            models.Index(fields=["origin"], condition=~models.Q(origin=""), name="batch_by_origin"),
            models.Index(fields=["-delivered_at"], condition=models.Q(tries__gt=1), name="batch_retried"),
        ]

    def __str__(self) -> str:
        return self.batch_id


class DeadLetter(models.Model):
    """A batch set aside: dead (rejected for good, or unreadable) or held (outcome unknown). An operator decides.

    The batch itself stays in Redis until it is replayed; the payload here is for reading.
    """

    class Kind(models.TextChoices):
        DEAD = "dead", "dead: rejected or unreadable"
        HELD = "held", "held: outcome unknown"

    class Resolution(models.TextChoices):
        REPLAYED = "replayed", "sent again"
        REKEYED = "re-keyed", "sent again to another address"
        APPLIED = "applied", "booked as applied"
        DISCARDED = "discarded", "discarded: never reported"

    batch_id = models.CharField("batch", max_length=32)
    kind = models.CharField("kind", max_length=8, choices=Kind.choices)
    external_id = models.CharField("external id", max_length=256, blank=True, help_text="empty for several users")
    reason = models.TextField("reason")
    calls = models.PositiveIntegerField("calls")
    tries = models.PositiveIntegerField("attempts")
    payload = models.JSONField("payload")
    since = models.DateTimeField("since")
    resolved_at = models.DateTimeField("resolved at", null=True, blank=True)
    resolution = models.CharField("resolution", max_length=16, choices=Resolution.choices, blank=True)

    class Meta:
        verbose_name = "dead letter"
        ordering: ClassVar = ["-since"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["batch_id"], condition=models.Q(resolved_at=None), name="set_aside_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["resolved_at", "-since"], name="letter_open_first")]

    def __str__(self) -> str:
        return f"{self.kind} {self.batch_id}: {self.reason[:80]}"


class HourlyTotal(models.Model):
    """What one user used of one model in one hour (UTC, by admission), as far as delivered."""

    external_id = models.CharField("external id", max_length=256)
    model = models.CharField("model", max_length=256)
    hour = models.DateTimeField("hour")
    source = models.CharField("known from", max_length=16)
    calls = models.PositiveBigIntegerField("calls", default=0)
    input = models.BigIntegerField("input tokens", default=0)
    output = models.BigIntegerField("output tokens", default=0)
    requests = models.BigIntegerField("requests", default=0)

    class Meta:
        verbose_name = "hourly total"
        ordering: ClassVar = ["-hour", "external_id", "model"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hour", "external_id", "model", "source"], name="one_total_an_hour"),
        ]
        indexes: ClassVar = [models.Index(fields=["external_id", "-hour"], name="total_by_user")]

    def __str__(self) -> str:
        return f"{self.external_id} {self.model} {self.hour:%Y-%m-%d %H}h"


class OperatorAction(models.Model):
    """Who intervened, how, and why."""

    who = models.CharField("who", max_length=256)
    what = models.CharField("what", max_length=256)
    why = models.TextField("why", blank=True)
    at = models.DateTimeField("when", auto_now_add=True, db_index=True)

    class Meta:
        verbose_name = "operator action"
        ordering: ClassVar = ["-at"]

    def __str__(self) -> str:
        return f"{self.who}: {self.what}"


@receiver(acted)
def keep_action(*, who: str, what: str, why: str, **_: Any) -> None:
    """Write an action down. Raises DatabaseError."""
    OperatorAction.objects.create(who=who[:256], what=what[:256], why=why)


class QueuedBatch(models.Model):
    """A batch that is still in Redis. No table: it gives the admin its pages and permissions."""

    class Meta:
        managed = False
        default_permissions = ("view", "change")
        verbose_name = "queued batch"
        verbose_name_plural = "retry queue"

    def __str__(self) -> str:
        return "a batch in Redis"


class GovernedUser(models.Model):
    """A user whose limits and counters are in Redis. No table: it gives the admin its pages and permissions."""

    class Meta:
        managed = False
        default_permissions = ("view", "change")
        verbose_name = "user's limits"
        verbose_name_plural = "users' limits"

    def __str__(self) -> str:
        return "a user in Redis"
