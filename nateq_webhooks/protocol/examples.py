"""Realistic example deliveries, for demos, tests and a look at what an event brings.

Nateq does not publish what is in `data`; these examples are a likely shape, never a promise. They depend on
`number` alone: `ticket.created`, `ticket.updated` and `ticket.closed` with the same number are three moments
of one ticket, and its `conversation_id` is the conversation of that number.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .events import EVENTS, resource_of

_FIRST_MOMENT: Final = datetime(2026, 6, 30, 12, 0, tzinfo=UTC)
_MINUTES_BETWEEN_NUMBERS: Final = 7
_NUMBERS_BEFORE_TIME_REPEATS: Final = 100_000  # keeps every number, however large, inside datetime's range

# Minutes between the first event of a story and each later one. Events that are not named here come first.
_MINUTES_INTO_THE_STORY: Final[dict[str, int]] = {
    "conversation.assigned": 2,
    "message.sent": 4,
    "ticket.updated": 25,
    "broadcast.sent": 30,
    "broadcast.failed": 30,
    "conversation.ended": 60,
    "ticket.closed": 95,
}


@dataclass(frozen=True, kw_only=True)
class _Customer:
    name: str
    email: str | None
    phone: str | None
    language: str
    channel: str


@dataclass(frozen=True, kw_only=True)
class _File:
    name: str
    content_type: str
    size: int
    """In bytes."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What a customer wants, in the customer's language."""

    subject: str
    question: str
    answer: str
    priority: str
    tags: tuple[str, ...]
    files: tuple[_File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Agent:
    name: str
    email: str
    role: str
    language: str


_CUSTOMERS: Final = (
    _Customer(name="سارة الحربي", email=None, phone="+966500000101", language="ar", channel="whatsapp"),
    _Customer(name="Emma Wilson", email="emma.wilson@example.com", phone=None, language="en", channel="email"),
    _Customer(
        name="محمد العتيبي",
        email="m.alotaibi@example.com",
        phone="+966500000103",
        language="ar",
        channel="web",
    ),
    _Customer(
        name="James O'Connor",
        email="james@example.org",
        phone="+442079460104",
        language="en",
        channel="whatsapp",
    ),
    _Customer(name="نورة القحطاني", email="noura@example.net", phone=None, language="ar", channel="email"),
    _Customer(name="Priya Raman", email="priya.raman@example.com", phone=None, language="en", channel="web"),
    _Customer(name="عبد الله الشمري", email=None, phone="+966500000107", language="ar", channel="whatsapp"),
    _Customer(
        name="Zoë Müller",
        email="zoe.mueller@example.org",
        phone="+4930123456",
        language="en",
        channel="email",
    ),
)

_CASES: Final[dict[str, tuple[_Case, ...]]] = {
    "ar": (
        _Case(
            subject="طلبي رقم ٤٨٢١ لم يصل بعد",
            question="السلام عليكم، طلبت قبل أسبوع ولم يصل الطلب حتى الآن 😕 هل يمكنكم التحقق؟",
            answer="وعليكم السلام، نعتذر عن التأخير. الطلب في الطريق وسيصلكم غدًا بإذن الله 🚚",
            priority="high",
            tags=("شحن", "delayed"),
        ),
        _Case(
            subject="المنتج وصل مكسورًا",
            question="وصلني الكوب مكسورًا، أرفقت صورة 📷 أريد استبداله من فضلكم.",
            answer="نأسف لذلك! سنرسل لكم بديلًا اليوم دون أي تكلفة 🌷",
            priority="urgent",
            tags=("استبدال", "damaged"),
            files=(_File(name="صورة الكوب.jpg", content_type="image/jpeg", size=284_113),),
        ),
        _Case(
            subject="كيف أغيّر عنوان التوصيل؟",
            question="مرحبًا، انتقلت إلى الرياض وأريد تغيير العنوان في حسابي.",
            answer="أهلًا بك، تم تحديث العنوان ✅",
            priority="normal",
            tags=("حساب",),
        ),
        _Case(
            subject="فاتورة ضريبية لطلب شهر مايو (INV-2051)",
            question="أحتاج الفاتورة الضريبية للطلب INV-2051 بصيغة PDF، شكرًا لكم 🙏",
            answer="تفضل، الفاتورة مرفقة.",
            priority="low",
            tags=("فواتير", "vat"),
            files=(
                _File(name="طلب.pdf", content_type="application/pdf", size=91_477),
                _File(name="ملاحظة صوتية.ogg", content_type="audio/ogg", size=40_960),
            ),
        ),
        _Case(
            subject="رمز التحقق لا يصل إلى جوالي 📱",
            question="أحاول الدخول منذ ساعة:\n• أدخل رقمي ٠٥٠١٢٣\n• أنتظر الرمز\n• لا شيء يصل!",
            answer="تم إرسال رمز جديد، وهو صالح لمدة عشر دقائق.",
            priority="high",
            tags=("حساب", "otp"),
        ),
    ),
    "en": (
        _Case(
            subject="Charged twice for order #4821",
            question="Hi, I see two charges of 149.00 SAR on my card for one order. Can you refund one? 💳",
            answer="Sorry about that! Billing has refunded the second charge.",
            priority="urgent",
            tags=("billing", "refund"),
            files=(_File(name="statement.png", content_type="image/png", size=512_004),),
        ),
        _Case(
            subject="Can't sign in after the password reset",
            question="The reset link says <expired> each time I open it 😩",
            answer="We sent a fresh link that works for 24 hours.",
            priority="high",
            tags=("account", "login"),
        ),
        _Case(
            subject='Which plan includes "shared inbox" & reports?',
            question="We are a team of five. Which plan do we need? 🤔",
            answer="The Team plan has both. Shall I set up a trial? 🎉",
            priority="normal",
            tags=("sales", "plans"),
        ),
        _Case(
            subject="Feature request: dark mode 🌙",
            question="Love the product! Please add a dark mode, my eyes would thank you 🙌🏽",
            answer="Thank you! I have passed it on to the product team.",
            priority="low",
            tags=("feedback",),
        ),
        _Case(
            subject="Courier went to the wrong address (طريق الملك فهد)",
            question="The label says «طريق الملك فهد», but I moved in May 📦\n\nPlease send it on.",
            answer="The courier has your new address and comes back tomorrow before noon.",
            priority="normal",
            tags=("shipping",),
        ),
    ),
}

_AGENTS: Final = (
    _Agent(name="ليلى حداد", email="layla@nateq-demo.example", role="agent", language="ar"),
    _Agent(name="Omar Farouk", email="omar@nateq-demo.example", role="agent", language="en"),
    _Agent(name="Hannah Lee", email="hannah@nateq-demo.example", role="supervisor", language="en"),
)

_CAMPAIGNS: Final = (
    ("عروض العودة إلى المدارس 🎒", "back_to_school_ar", 1_850),
    ("Summer sale: 20 % off", "summer_sale_en", 4_200),
    ("تذكير بالموعد", "appointment_reminder_ar", 312),
)

_COMPANIES: Final = ("مؤسسة الواحة للتجارة", "Northwind Traders", "شركة نجد للتقنية", "Blue Harbor Café")


def example_data(event: str, *, number: int = 1) -> dict[str, Any]:
    """Build the `data` of an event, the same for the same `number`.

    An event that is not published gets an object with nothing but an `id` and a time, as a new one might.
    """
    build = _BUILDERS.get(resource_of(event)) if event in EVENTS else None
    if build is None:
        return {"id": _identifier("obj", number), "created_at": _iso(_moment(event, number))}
    return build(event, number)


def example_envelope(
    event: str,
    *,
    number: int = 1,
    delivery_id: str,
    attempt: int = 1,
    organization_id: str = "org_demo",
    timestamp: datetime | None = None,
    version: str = "1.0",
) -> dict[str, Any]:
    """Build the whole body of a delivery (Nateq: Payload), ready for `json.dumps`.

    `timestamp` (aware) says when the event happened; without one it follows from `number`. An attempt differs
    from the one before it in `attempt` alone, so pass the same `timestamp` to both.
    """
    return {
        "event": event,
        "timestamp": _iso(timestamp or _moment(event, number)),
        "organization_id": organization_id,
        "data": example_data(event, number=number),
        "metadata": {"delivery_id": delivery_id, "attempt": attempt, "version": version},
    }


def _conversation(event: str, number: int) -> dict[str, Any]:
    customer = _customer(number)
    started = event == "conversation.started"
    ended = event == "conversation.ended"
    return {
        "id": _identifier("cnv", number),
        "channel": customer.channel,
        "status": "ended" if ended else "open",
        "subject": _case(number).subject,
        "language": customer.language,
        "customer": _person(number),
        "assignee": None if started else _assignee(number),
        "tags": list(_case(number).tags),
        "message_count": 1 if started else 2 + number % 9,
        "started_at": _iso(_moment("conversation.started", number)),
        "ended_at": _iso(_moment(event, number)) if ended else None,
    }


def _message(event: str, number: int) -> dict[str, Any]:
    case = _case(number)
    inbound = event == "message.received"
    return {
        "id": _identifier("msg", number, event),
        "conversation_id": _identifier("cnv", number),
        "channel": _customer(number).channel,
        "direction": "inbound" if inbound else "outbound",
        "type": "text" if not case.files or not inbound else "media",
        "text": case.question if inbound else case.answer,
        "attachments": _attachments(number) if inbound else [],
        "sender": _person(number) if inbound else _assignee(number),
        "reply_to": None if inbound else _identifier("msg", number, "message.received"),
        "created_at": _iso(_moment(event, number)),
    }


def _ticket(event: str, number: int) -> dict[str, Any]:
    case = _case(number)
    created = event == "ticket.created"
    closed = event == "ticket.closed"
    return {
        "id": _identifier("tkt", number),
        "number": 1000 + number,
        "subject": case.subject,
        "description": case.question,
        "status": {"ticket.created": "open", "ticket.updated": "pending"}.get(event, "closed"),
        "priority": case.priority,
        "channel": _customer(number).channel,
        "conversation_id": _identifier("cnv", number),
        "requester": _person(number),
        "assignee": None if created else _assignee(number),
        "tags": list(case.tags),
        "attachments": _attachments(number),
        "resolution": case.answer if closed else None,
        "created_at": _iso(_moment("ticket.created", number)),
        "updated_at": _iso(_moment(event, number)),
        "closed_at": _iso(_moment(event, number)) if closed else None,
    }


def _broadcast(event: str, number: int) -> dict[str, Any]:
    name, template, recipients = _CAMPAIGNS[number % len(_CAMPAIGNS)]
    failed = event == "broadcast.failed"
    return {
        "id": _identifier("brd", number, event),
        "name": name,
        "template": template,
        "channel": "whatsapp",
        "status": "failed" if failed else "sent",
        "recipients": recipients,
        "delivered": 0 if failed else recipients - number % 40,
        "error": {"code": "TEMPLATE_PAUSED", "message": "The template is paused."} if failed else None,
        "created_by": _assignee(number),
        "finished_at": _iso(_moment(event, number)),
    }


def _user(event: str, number: int) -> dict[str, Any]:
    agent = _agent(number)
    return {
        "id": _identifier("usr", number, event),
        "name": agent.name,
        "email": agent.email.replace("@", f"+{number}@"),
        "role": agent.role,
        "language": agent.language,
        "timezone": "Asia/Riyadh",
        "is_active": True,
        "created_at": _iso(_moment(event, number)),
    }


def _lead(event: str, number: int) -> dict[str, Any]:
    customer = _customer(number)
    return {
        "id": _identifier("led", number),
        "name": customer.name,
        "email": customer.email,
        "phone": customer.phone,
        "company": _COMPANIES[number % len(_COMPANIES)],
        "source": customer.channel,
        "language": customer.language,
        "score": 35 + number * 13 % 65,
        "note": _case(number).question,
        "conversation_id": _identifier("cnv", number),
        "created_at": _iso(_moment(event, number)),
    }


_BUILDERS: Final[dict[str, Callable[[str, int], dict[str, Any]]]] = {
    "conversation": _conversation,
    "message": _message,
    "ticket": _ticket,
    "broadcast": _broadcast,
    "user": _user,
    "lead": _lead,
}


def _customer(number: int) -> _Customer:
    return _CUSTOMERS[number % len(_CUSTOMERS)]


def _case(number: int) -> _Case:
    cases = _CASES[_customer(number).language]
    # Consecutive numbers of one language differ by two. The same pair of case and customer returns after forty numbers.
    return cases[number // 2 % len(cases)]


def _agent(number: int) -> _Agent:
    return _AGENTS[number % len(_AGENTS)]


def _person(number: int) -> dict[str, Any]:
    customer = _customer(number)
    return {
        "id": _identifier("cus", number % len(_CUSTOMERS)),
        "name": customer.name,
        "email": customer.email,
        "phone": customer.phone,
    }


def _assignee(number: int) -> dict[str, Any]:
    agent = _agent(number)
    return {"id": _identifier("usr", number % len(_AGENTS)), "name": agent.name, "email": agent.email}


def _attachments(number: int) -> list[dict[str, Any]]:
    return [
        {
            "id": _identifier("att", number, file.name),
            "name": file.name,
            "content_type": file.content_type,
            "size": file.size,
            "url": f"https://files.nateq-demo.example/{_identifier('att', number, file.name)}",
        }
        for file in _case(number).files
    ]


def _identifier(prefix: str, number: int, part: str = "") -> str:
    """An id as Nateq's look, one per prefix, number and part."""
    digest = hashlib.sha256(f"{prefix}:{number}:{part}".encode()).hexdigest()
    return f"{prefix}_{digest[:20]}"


def _moment(event: str, number: int) -> datetime:
    minutes = number % _NUMBERS_BEFORE_TIME_REPEATS * _MINUTES_BETWEEN_NUMBERS
    return _FIRST_MOMENT + timedelta(minutes=minutes + _MINUTES_INTO_THE_STORY.get(event, 0))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
