"""Prompts: words to ids and back, what they mean, what is refused."""
import itertools
import random
import warnings

import pytest
import torch
from torch.testing import assert_close

from minidiff.data import prompts
from minidiff.data.prompts import (
    DIRECTIONS,
    VOCABULARY,
    ObjectSpec,
    decode,
    describe,
    encode,
    paraphrase,
    parse,
)

THINGS = [ObjectSpec(d, s, p) for d in (None, 0, 7) for s in (None, 2, 5) for p in (None, "slowly")]


def test_the_vocabulary_is_closed_small_and_without_repeats():
    assert VOCABULARY[0] == "" and 35 <= len(VOCABULARY) - 1 <= 45
    assert len(set(VOCABULARY)) == len(VOCABULARY)


def test_words_come_back_from_their_ids():
    said = "a 3 moving left and a 7 moving up"
    ids = encode(said)
    assert ids.shape == (prompts.PROMPT_LENGTH,) and ids.dtype == torch.int64
    assert decode(ids) == said and (ids[9:] == 0).all()


def test_capitals_stops_and_hyphens_do_not_matter():
    assert_close(encode("A 3, moving up-left."), encode("a 3 moving up left"))


def test_nothing_is_the_null_prompt():
    assert not encode(None).any() and decode(encode(None)) == ""
    assert encode(["a 3", None]).shape == (2, prompts.PROMPT_LENGTH)


def test_every_word_is_used_and_understood():
    said = {"and": "a 3 and a 7", "a": "a 3", "the": "the 3", "digit": "digit 3"}
    said |= {verb: f"3 {verb}" for verb in prompts.VERBS}
    for word in VOCABULARY[1:]:
        assert decode(encode(said.get(word, word))) == said.get(word, word)


@pytest.mark.parametrize("things", list(itertools.product(THINGS[1:], repeat=2)))
def test_what_is_described_is_what_is_parsed(things):
    assert parse(describe(things)) == list(things)


def test_a_paraphrase_says_the_same_or_less():
    rng, said = random.Random(0), set()
    thing = ObjectSpec(3, DIRECTIONS.index("up left"), "quickly")
    lost = 0
    for _ in range(500):
        words = paraphrase([thing, thing], iter([rng.random() for _ in range(8)]))
        said.add(words)
        assert len(words.split()) <= prompts.PROMPT_LENGTH
        for got in parse(words):
            gaps = [a is None for a, b in zip(got, thing, strict=True) if a != b]
            assert all(gaps) and len(gaps) <= 1
            lost += len(gaps)
    assert len(said) > 300 and 150 < lost < 350              # of 1,000 things, a quarter


def test_unknown_words_are_named_with_the_nearest_known_ones():
    with pytest.raises(ValueError, match=r"'moovin' \(do you mean 'moving'.*'qzx'") as e:
        encode("a 3 moovin left qzx")
    assert "left" not in str(e.value).split(".")[0]


@pytest.mark.parametrize(("prompt", "words"), [
    ("", "empty"), (" , . ", "empty"), ("a 1 and a 2 and a 3", "3 digits; 2 are"),
    ("a the " * 9, "18 words; 16"), ("something and something and a 3", "3 digits")])
def test_what_cannot_be_asked_is_refused(prompt, words):
    with pytest.raises(ValueError, match=words):
        encode(prompt)


@pytest.mark.parametrize(("prompt", "pair"), [
    ("a 3 moving left right", "a 3 moving left right"), ("a 3 going slowly up quickly", "slowly"),
    ("a 3 moving up and a 4 going up down", "a 4 going up down")])
def test_contradictions_are_allowed_and_said(prompt, pair):
    with pytest.warns(UserWarning, match="contradicts itself") as said:
        encode(prompt)
    assert pair in str(said[0].message)


def test_opposite_headings_of_two_digits_are_no_contradiction():
    with warnings.catch_warnings():
        warnings.simplefilter("error")                       # a warning would fail here
        said = parse("a 3 moving left and a 3 moving right")
    assert [DIRECTIONS[thing.direction] for thing in said] == ["left", "right"]


def test_unknown_ids_are_refused():
    with pytest.raises(ValueError, match="from 0 to"):
        decode(torch.tensor([99]))


@pytest.mark.parametrize(("prompt", "words"), [
    ("three seven", "names 2 digits without 'and'.*three and seven"), ("3 3", "names 2 digits"),
    ("something 7 moving up", "names 2 digits"), ("and", "nothing before or after"),
    ("a 3 and", "nothing before or after"), ("and a 3", "nothing before or after"),
    ("a 3 and and a 7", "nothing before or after"), ("a a a a", "one of them is enough"),
    ("a the 3", "one of them is enough"), ("a 3 moving moving left", "one of them is enough"),
    ("a 3 left left", "one of them is enough"), ("a", "names no digit"),
    ("the digit", "names no digit"), ("moving", "names no digit"),
    ("a 3 moving left and right", "'right' names no digit.*not between two headings"),
    ("left and a 3", "'left' names no digit")])
def test_phrases_that_no_clip_can_show_are_refused(prompt, words):
    with pytest.raises(ValueError, match=words):
        encode(prompt)


@pytest.mark.parametrize("prompt", ["left", "moving up left", "slowly", "3 left", "something",
                                    "digit seven goes up and the 3"])
def test_what_is_left_out_is_left_open(prompt):
    assert decode(encode(prompt)) == prompt


@pytest.mark.parametrize(("word", "meant"), [
    ("moovin", "moving"), ("rigth", "right"), ("sevn", "seven"), ("fast", "quickly"),
    ("then", "and"), ("upwards", "up"), ("tree", "three")])
def test_the_word_that_is_meant_is_suggested(word, meant):
    assert f"do you mean '{meant}'?" in prompts.suggest_words(word)


@pytest.mark.parametrize("word", ["to", "too", "on", "for", "there", "they", "gone", "cat", "of",
                                  "bone", "12", "10", "42"])
def test_other_words_get_no_misleading_suggestion(word):
    assert "do you mean" not in prompts.suggest_words(word)


def test_a_prompt_is_text():
    for wrong in ([3], ["3", ["7"]], [["3"], ["7"]], b"3"):
        with pytest.raises(ValueError, match="A prompt is text"):
            encode(wrong)
    with pytest.raises(ValueError, match="list of prompts is empty"):
        encode([])
