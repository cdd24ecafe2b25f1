"""Model cards: each is complete, and the commands in it can be run today."""
import json
import re
import shlex

import pytest

from minidiff.cli.parser import parser
from minidiff.pipeline import CHECKPOINTS
from minidiff.recipes import get_recipe

CARDS = sorted(CHECKPOINTS.glob("*.json"), key=lambda path: path.stem)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_says_with_which_streams_its_weights_were_made(path):
    card = json.loads(path.read_text())
    assert card["streams"].endswith(".") and "random stream" in card["streams"]
    assert card["limits"].endswith("HELD_OUT.") and "{" not in card["limits"]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_trainings_of_a_card_are_commands_of_today(path):
    text = json.loads(path.read_text())["command"]
    commands = re.findall(r"-m minidiff (train [^,([]*(?:\[[^]]*\][^,([]*)*)", text)
    assert len(commands) == len(re.findall(r"\btrain \w", text))
    for command in commands:
        args = parser().parse_args(shlex.split(command))
        get_recipe(args.recipe, **dict(args.set))
