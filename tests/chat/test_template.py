from __future__ import annotations

import threading
import time

import pytest

from lightning_gft.chat import ChatTemplate, Conversation, LeftOutCheck, OutOfTimeError, RenderError, map_within
from tests.chat import templates as known
from tests.chat.templates import chat_tokenizer

QUESTION = Conversation([{"role": "user", "content": "hi"}])
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}"
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_gft.chat.template._SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_an_endless_template_is_stopped_and_leaves_nothing_running() -> None:
    template = ChatTemplate(chat_tokenizer("{% if messages[0].content == 'loop' %}" + ENDLESS + "{% endif %}"))
    template.render(QUESTION)
    threads = threading.active_count()
    with pytest.raises(RenderError, match=r"the chat template did not end within 0.2 s and was stopped") as caught:
        template.render_all([QUESTION, Conversation([{"role": "user", "content": "loop"}])])
    assert caught.value.index == 1
    assert threading.active_count() == threads


def test_results_come_in_order_and_an_error_is_raised_as_it_is() -> None:
    assert map_within(lambda number: number**2, range(100), seconds=600) == [number**2 for number in range(100)]
    with pytest.raises(ZeroDivisionError):
        map_within(lambda number: 1 / number, [1, 0], seconds=600)


def test_the_limit_is_for_each_item_not_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    over: list[float | None] = []
    limits, begins = threading.Semaphore(0), threading.Semaphore(0)

    class Late(threading.Thread):
        """Ends one item whenever the limit would be over, but the last."""

        def join(self, timeout: float | None = None) -> None:
            over.append(timeout)
            limits.release()
            if len(over) > 10:
                super().join(timeout)
            else:
                begins.acquire()

    def work(number: int) -> None:
        if number:
            begins.release()
        if number < 10:
            limits.acquire()
        else:
            while True:
                time.sleep(0.01)

    monkeypatch.setattr("lightning_gft.chat.limit.Thread", Late)
    with pytest.raises(OutOfTimeError) as caught:
        map_within(work, range(11), seconds=0.2)
    assert caught.value.index == 10
    assert over[:11] == [0.2] * 11


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('users first') }}", r"cannot render the conversation \(users first\)"),
        ("{{ messages[7].content.x }}", "cannot render"),
        ("{{ 1 // 0 }}", "ZeroDivisionError|division"),
        ("{% for %}", "cannot render"),
        ("{{ messages[0]['content'] + 1 }}", "cannot render"),
    ],
)
def test_whatever_a_template_raises_is_one_line(template: str, words: str) -> None:
    with pytest.raises(RenderError, match=words) as caught:
        ChatTemplate(chat_tokenizer(template)).render(QUESTION)
    assert "\n" not in str(caught.value)


def test_variables_that_a_template_reads_are_known() -> None:
    reads = ChatTemplate(chat_tokenizer(known.TRACKED + known.QWEN3 + "{{ strftime_now('%Y') }}")).reads
    assert reads >= {"messages", "tools", "enable_thinking", "add_generation_prompt"}
    assert not reads & {"strftime_now", "raise_exception", "range", "generation", "loop"}


FOR_USERS = (
    "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<|{{ m.role }}|>{{ m.content }}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize("role", ["system", "developer", "tool"])
def test_a_message_that_is_left_out_is_refused(role: str) -> None:
    check = LeftOutCheck(ChatTemplate(chat_tokenizer(FOR_USERS)))
    lost = Conversation([{"role": role, "content": "in French"}, *QUESTION.messages])
    with pytest.raises(
        RenderError, match=rf"leaves out a message of role '{role}' \('in French'\), message 0"
    ) as caught:
        check.count([QUESTION, lost])
    assert caught.value.index == 1


def test_a_system_message_that_only_counts_in_front_is_refused_elsewhere() -> None:
    front = "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}" + FOR_USERS
    check = LeftOutCheck(ChatTemplate(chat_tokenizer(front)))
    system = {"role": "system", "content": "in French"}
    assert not check.count([Conversation([system, *QUESTION.messages])])
    with pytest.raises(RenderError, match="message 1"):
        check.count([Conversation([*QUESTION.messages, system, *QUESTION.messages])])


def test_what_else_is_left_out_is_counted() -> None:
    check = LeftOutCheck(ChatTemplate(chat_tokenizer(known.QWEN3)))
    named = Conversation([{"role": "user", "content": "hi", "name": "Ann"}])
    nothing = Conversation([{"role": "user", "content": "hi", "name": None}])
    thought = {
        "role": "assistant",
        "content": "",
        "reasoning_content": "so",
        "tool_calls": [{"function": {"name": "f"}}],
    }
    past = Conversation([*QUESTION.messages, thought, {"role": "tool", "content": "2"}], {"tools": [{"name": "f"}]})
    assert check.count([named, nothing, named, past]) == {
        "`name` of 'user' messages": 2,
        "`reasoning_content` of 'assistant' messages": 1,
    }


def test_parts_of_a_message_that_are_left_out_are_refused() -> None:
    texts = FOR_USERS.replace("{{ m.content }}", "{% for p in m.content %}{{ p.text }}{% endfor %}")
    check = LeftOutCheck(ChatTemplate(chat_tokenizer(texts)))
    text = {"type": "text", "text": "hi"}
    assert not check.count([Conversation([{"role": "user", "content": [text, text]}])])
    with pytest.raises(RenderError, match="leaves out a part of a message of role 'user'"):
        check.count([Conversation([{"role": "user", "content": [text, {"type": "image"}]}])])


def test_each_kind_of_message_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate(chat_tokenizer(known.CHATML))
    rendered = []
    render = template.render
    monkeypatch.setattr(template, "render", lambda *args, **kwargs: rendered.append(1) or render(*args, **kwargs))
    turns = [{"role": role, "content": "hi"} for role in ("user", "assistant") * 3]
    LeftOutCheck(template).count([Conversation([*turns, *QUESTION.messages])] * 1000)
    assert len(rendered) <= 8
