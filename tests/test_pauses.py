"""When to report again about something that lasts."""

from lightning_gft.pauses import GrowingPauses


def test_pauses_double_up_to_the_longest():
    pauses, due = GrowingPauses(10, longest=40), []
    for _ in range(5):
        pauses.reported(now=100)
        due.append(pauses.due - 100)
    assert due == [10, 20, 40, 40, 40]
