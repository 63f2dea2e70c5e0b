"""Django's messages, in a cookie that no other site on this machine uses: cookies are not separate for each port."""

from django.contrib.messages.storage.cookie import CookieStorage


class Messages(CookieStorage):
    """Keeps messages in a signed cookie until the next page shows them."""

    cookie_name = "nateq_sandbox_messages"
