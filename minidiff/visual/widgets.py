"""What a notebook plays with: the trajectory microscope, the sampler duel, and a playground.

Microscope and duel hold all their pictures and need no kernel (see `viewer`). A playground is for
what only Python can answer, another guidance scale or prompt: sliders, menus and a Play button of
ipywidgets, where they are installed, that call a function and show what it returns.
"""
import inspect
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from itertools import count

from minidiff.visual.microscope import microscope
from minidiff.visual.sampler_duel import sampler_duel

__all__ = ["Playground", "microscope", "playground", "sampler_duel"]

# A kernel may run callbacks in a thread beside a cell; torch and matplotlib are shared: one a time
RENDER_LOCK = threading.RLock()
STRICT_VARIABLES = "MINIDIFF_STRICT", "NBGRADER_EXECUTION", "PYTEST_VERSION"          # nbval runs in pytest


def playground(render: Callable[..., object], **controls) -> "Playground":
    """Controls for draw's arguments, and what draw returns for them.

    draw: `draw(**values)` returns anything that a notebook displays. Its defaults are where the
    controls start; else a control starts at its first value.
    controls: by argument, (low, high, step) for a slider (with Play, if whole numbers), a list for
    a menu, a str for a line of text, a bool for a box to tick.
    Raises ValueError for no controls, or one that is none of these.
    """
    return Playground(render, controls)


class Playground:
    """What `playground` returns: live in a notebook, and `walk` tries all its controls.

    It draws once when it is made, so that a cell whose first picture fails is a cell that fails.
    """

    def __init__(self, render: Callable[..., object], controls: Mapping[str, object]):
        if not controls:
            raise ValueError("A playground needs at least one control, guidance=(0, 15, 1) say.")
        known = inspect.signature(render).parameters
        for name, control in controls.items():
            check_control(name, control)
        self.render, self.controls = render, dict(controls)
        self.values = {name: initial_value(control, known.get(name)) for name, control in controls.items()}
        self.request_numbers, self.latest_request = count(), -1
        self.initial_output = self.output_for(self.values)

    def try_all(self) -> list[dict]:
        """Call draw over the whole range of every control, one at a time: the values it was given.

        Sliders at both ends and in the middle, menus and boxes at every option, the other controls
        where they start. Whatever draw raises is raised, with a note of the values.
        """
        tried = []
        for name, control in self.controls.items():
            for value in values_to_try(control, self.values[name]):
                values = self.values | {name: value}
                try:
                    with RENDER_LOCK:
                        mime_bundle(self.render(**values))
                except Exception as e:
                    e.add_note(f"A playground drew this with {values}.")
                    raise
                tried.append(values)
        return tried

    def output_for(self, values: dict) -> dict | None:
        """What to display for these values: MIME types and contents.

        None if newer values came in while it waited. An error is one sentence, or raised if strict.
        """
        turn = self.latest_request = next(self.request_numbers)
        with RENDER_LOCK:
            if turn != self.latest_request:
                return None
            try:
                return mime_bundle(self.render(**values))
            except Exception as e:
                if any(os.environ.get(name, "0") != "0" for name in STRICT_VARIABLES):
                    raise
                return {"text/plain": " ".join(f"{type(e).__name__}: {e}".split())}

    def __repr__(self) -> str:
        said = ", ".join(f"{name} = {value!r}" for name, value in self.values.items())
        return f"playground: {said}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The live controls over a first picture, which is what pages without a kernel show."""
        try:
            import ipywidgets
        except ImportError:
            return self.initial_output
        return self.initial_output | self.build_controls(ipywidgets)

    def build_controls(self, ipywidgets) -> dict:
        """The controls and their output, as a notebook displays them."""
        output, rows, inputs = ipywidgets.Output(), [], {}
        output.outputs = (display_output(self.initial_output),)
        for name, control in self.controls.items():
            inputs[name], row = make_widget(ipywidgets, name, control, self.values[name])
            rows.append(row)

        def changed(_) -> None:
            data = self.output_for({name: control.value for name, control in inputs.items()})
            if data is not None:
                output.outputs = (display_output(data),)

        for control in inputs.values():
            control.observe(changed, "value")
        self.inputs, self.output = inputs, output
        return ipywidgets.VBox([*rows, output])._repr_mimebundle_()


def check_control(name: str, control: object) -> None:
    """Raises ValueError unless this is a control."""
    fine = isinstance(control, bool | str) or (isinstance(control, list) and control)
    if isinstance(control, tuple) and len(control) == 3:
        low, high, step = control
        fine = all(isinstance(v, int | float) for v in control) and low < high and step > 0
    if not fine:
        raise ValueError(f"The control {name} must be (low, high, step) with low < high and "
                         f"step > 0, a list of options, a str or a bool, got {control!r}.")


def initial_value(control: object, parameter: inspect.Parameter | None) -> object:
    """Where a control starts: at draw's own default, if it can stand there."""
    usual = inspect.Parameter.empty if parameter is None else parameter.default
    if isinstance(control, tuple):
        low, high, _ = control
        return usual if isinstance(usual, int | float) and low <= usual <= high else low
    if isinstance(control, list):
        return usual if usual in control else control[0]
    return control


def values_to_try(control: object, start: object) -> Iterator[object]:
    """The values that `walk` tries of a control."""
    if isinstance(control, tuple):
        low, high, step = control
        steps = int((high - low) / step + 1e-9)
        return iter(dict.fromkeys(low + k * step for k in (0, steps // 2, steps)))
    if isinstance(control, bool):
        return iter((False, True))
    return iter(control if isinstance(control, list) else [start])


def make_widget(ipywidgets, name: str, control: object, start: object) -> tuple:
    """An ipywidget for a control, and the row that shows it: with Play where it counts."""
    common = {"value": start, "description": name.replace("_", " "),
              "style": {"description_width": "9em"}, "layout": {"width": "32em"}}
    if isinstance(control, bool):
        return 2 * (ipywidgets.Checkbox(**common | {"indent": True}),)
    if isinstance(control, str):
        return 2 * (ipywidgets.Text(**common, continuous_update=False),)
    if isinstance(control, list):
        options = [(str(option), option) for option in control]
        return 2 * (ipywidgets.Dropdown(**common, options=options),)
    low, high, step = control
    span = {"min": low, "max": high, "step": step}
    if not all(isinstance(v, int) for v in (*control, start)):
        return 2 * (ipywidgets.FloatSlider(**common, **span, continuous_update=False),)
    slider = ipywidgets.IntSlider(**common, **span, continuous_update=False)
    play = ipywidgets.Play(value=start, **span, interval=700, description=f"play {name}")
    ipywidgets.jslink((play, "value"), (slider, "value"))
    return slider, ipywidgets.HBox([slider, play])


def mime_bundle(shown: object) -> dict:
    """An object's MIME types and contents, as a notebook would show it; without metadata."""
    data = {"text/plain": repr(shown)}
    if isinstance(shown, str):
        return {"text/plain": shown}
    if hasattr(shown, "_repr_mimebundle_"):
        made = shown._repr_mimebundle_()
        return data | (made[0] if isinstance(made, tuple) else made)
    if hasattr(shown, "_repr_html_") and (text := shown._repr_html_()):         # a figure: None
        data["text/html"] = text
    if hasattr(shown, "_repr_png_"):
        made = shown._repr_png_()
        data["image/png"] = b64encode(made[0] if isinstance(made, tuple) else made).decode()
    return data


def display_output(data: dict) -> dict:
    """The same as an output of a notebook's cell."""
    return {"output_type": "display_data", "data": data, "metadata": {}}
