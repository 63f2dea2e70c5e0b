"""What the receivers build: the tickets on the board, and a trace of each receiver's work."""

from django.db import models

from .expectations import Receiver


class Ticket(models.Model):
    """A ticket as the newest event about it described it."""

    class Status(models.TextChoices):
        """The columns of the board, left to right."""

        OPEN = "open", "Open"
        PENDING = "pending", "Pending"
        CLOSED = "closed", "Closed"

    external_id = models.CharField("id at Nateq", max_length=200, unique=True)
    subject = models.CharField(max_length=200)
    customer = models.CharField(max_length=120, blank=True)
    channel = models.CharField(max_length=40, blank=True)
    status = models.CharField(max_length=10, choices=Status)
    priority = models.CharField(max_length=20, blank=True)
    happened_at = models.DateTimeField("newest event happened at")
    events_applied = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField("put on the board at", auto_now_add=True)

    class Meta:
        ordering = ["-happened_at", "-pk"]

    def __str__(self) -> str:
        return self.subject


class Effect(models.Model):
    """One receiver did its work for one delivery.

    Nothing here is unique, on purpose: work done twice leaves two rows, and the demo's check counts them.
    """

    delivery_id = models.TextField()
    receiver = models.CharField(max_length=10, choices=Receiver)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.receiver} for {self.delivery_id}"
