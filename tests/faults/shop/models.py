"""What a receiver did. Nothing here keeps a row from being written twice: that is what is tested."""

from django.db import models


class Effect(models.Model):
    delivery_id = models.CharField(max_length=100)
    receiver = models.CharField(max_length=20)

    def __str__(self) -> str:
        return f"{self.receiver} {self.delivery_id}"
