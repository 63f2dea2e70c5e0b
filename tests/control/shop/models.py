"""What a receiver did. Nothing here keeps a row from being written twice: that is what is tested."""

from typing import ClassVar

from django.db import models


class Effect(models.Model):
    delivery_id = models.CharField(max_length=100)
    receiver = models.CharField(max_length=20)
    is_replay = models.BooleanField()
    started_at = models.DateTimeField()
    key = models.CharField(max_length=100)
    seen = models.IntegerField(null=True)
    "Effects of the same receiver and key that were committed before; where order is tested."

    objects: ClassVar[models.Manager["Effect"]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.receiver} {self.delivery_id}"
