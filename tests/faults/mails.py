"""What must be true of mail: each one that somebody should have was sent once."""

from collections import Counter
from collections.abc import Iterator

from tests.faults.findings import Finding, Wrong, equal
from tests.faults.snapshot import Snapshot


def mails(seen: Snapshot) -> Iterator[Finding]:
    """Everything that is wrong with mail."""
    yield from _asked_for(seen)
    jobs, told = seen.mails.jobs, seen.notifications.told
    yield from equal("job done", Counter(list(jobs)), seen.mails.done)
    for id_, (name, payload) in jobs.items():
        times = seen.mails.sent[id_]
        if times > 1:
            yield Finding(Wrong.MAILED_TWICE, f"{name} {id_}, {times} times")
        # Whom a late unfollow told no more of an article may have had the mail, or not.
        due = name == "email.welcome" or (
            (payload["recipient_id"], payload["kind"], payload["article_id"]) in told
        )
        if due and times == 0:
            yield Finding(Wrong.LOST, f"mail {name} {id_}")
    for id_ in seen.mails.sent.keys() - jobs.keys():
        yield Finding(Wrong.INVENTED, f"mail {id_}")


def _asked_for(seen: Snapshot) -> Iterator[Finding]:
    """There is a job for each account, and for each article that somebody wants to hear of."""
    accounts = Counter(seen.users.accounts.values())
    welcomed: Counter[str] = Counter()
    told: Counter[tuple[str, str, str]] = Counter()
    for name, payload in seen.mails.jobs.values():
        if name == "email.welcome":
            welcomed[payload["account_id"]] += 1
        else:
            told[payload["recipient_id"], payload["kind"], payload["article_id"]] += 1
    yield from equal("welcome", accounts, welcomed)
    for recipient, kind, fact in seen.notifications.told:
        if (recipient, kind) in seen.mails.wanted and told[recipient, kind, fact] != 1:
            wrong = Wrong.LOST if told[recipient, kind, fact] == 0 else Wrong.DUPLICATED
            yield Finding(wrong, f"mail of {kind} {fact} to {recipient}")
