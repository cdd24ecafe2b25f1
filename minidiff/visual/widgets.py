"""Widgets of a notebook: the trajectory microscope, the sampler duel, and the playground.

Microscope and duel hold all their pictures and need no kernel (see `viewer`). A playground is for
settings that need Python, such as another guidance scale or prompt. Its sliders, menus and Play
button are ipywidgets, if these are installed; they call a function and show its result.
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

# A kernel may run callbacks in a thread beside a cell. torch and matplotlib are shared by both, so
# only one thread renders at a time.
RENDER_LOCK = threading.RLock()
STRICT_VARIABLES = "MINIDIFF_STRICT", "NBGRADER_EXECUTION", "PYTEST_VERSION"  # nbval uses pytest


def playground(render: Callable[..., object], **controls) -> "Playground":
    """Controls for the arguments of a function, and the function's result below them.

    render: `render(**values)` returns anything that a notebook displays. A control starts at the
    argument's default, or at its own first value.
    controls: by argument, (low, high, step) for a slider (of whole numbers: with Play), a list for
    a menu, a str for a line of text, a bool for a checkbox.
    Raises ValueError for no controls, and for a control of any other kind.
    """
    return Playground(render, controls)


class Playground:
    """The result of `playground`: live in a notebook; `try_all` tries all of its controls.

    It renders once when it is made, so a cell fails if its first result fails.
    """

    def __init__(self, render: Callable[..., object], controls: Mapping[str, object]):
        if not controls:
            raise ValueError("A playground needs at least one control, guidance=(0, 15, 1) say.")
        known = inspect.signature(render).parameters
        for name, control in controls.items():
            check_control(name, control)
        self.render, self.controls = render, dict(controls)
        self.values = {name: initial_value(control, known.get(name))
                       for name, control in controls.items()}
        self.request_numbers, self.latest_request = count(), -1
        self.initial_output = self.output_for(self.values)

    def try_all(self) -> list[dict]:
        """Render over the range of every control, one at a time; returns all values used.

        Sliders are tried at both ends and in the middle, menus and checkboxes at every option; the
        other controls stay at their first values. An error is raised with a note of the values.
        """
        tried = []
        for name, control in self.controls.items():
            for value in values_to_try(control, self.values[name]):
                values = self.values | {name: value}
                try:
                    with RENDER_LOCK:
                        mime_bundle(self.render(**values))
                except Exception as e:
                    e.add_note(f"A playground rendered this with {values}.")
                    raise
                tried.append(values)
        return tried

    def output_for(self, values: dict) -> dict | None:
        """The output for these values: MIME types and contents.

        None if newer values came while it waited. An error becomes one sentence; it is raised if
        one of `STRICT_VARIABLES` is set.
        """
        request = self.latest_request = next(self.request_numbers)
        with RENDER_LOCK:
            if request != self.latest_request:
                return None
            try:
                return mime_bundle(self.render(**values))
            except Exception as e:
                if any(os.environ.get(name, "0") != "0" for name in STRICT_VARIABLES):
                    raise
                return {"text/plain": " ".join(f"{type(e).__name__}: {e}".split())}

    def __repr__(self) -> str:
        values = ", ".join(f"{name} = {value!r}" for name, value in self.values.items())
        return f"playground: {values}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The live controls and the first output, which pages without a kernel show."""
        try:
            import ipywidgets
        except ImportError:
            return self.initial_output
        return self.initial_output | self.build_controls(ipywidgets)

    def build_controls(self, ipywidgets) -> dict:
        """The controls and their output as MIME types and contents."""
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
    """Raises ValueError unless this is one of the kinds of control."""
    fine = isinstance(control, bool | str) or (isinstance(control, list) and control)
    if isinstance(control, tuple) and len(control) == 3:
        low, high, step = control
        fine = all(isinstance(v, int | float) for v in control) and low < high and step > 0
    if not fine:
        raise ValueError(f"The control {name} must be (low, high, step) with low < high and "
                         f"step > 0, a list of options, a str or a bool, got {control!r}.")


def initial_value(control: object, parameter: inspect.Parameter | None) -> object:
    """The first value of a control: the argument's default, if the control can take it."""
    default = inspect.Parameter.empty if parameter is None else parameter.default
    if isinstance(control, tuple):
        low, high, _ = control
        return default if isinstance(default, int | float) and low <= default <= high else low
    if isinstance(control, list):
        return default if default in control else control[0]
    return control


def values_to_try(control: object, start: object) -> Iterator[object]:
    """The values of a control that `try_all` tries."""
    if isinstance(control, tuple):
        low, high, step = control
        steps = int((high - low) / step + 1e-9)
        return iter(dict.fromkeys(low + k * step for k in (0, steps // 2, steps)))
    if isinstance(control, bool):
        return iter((False, True))
    return iter(control if isinstance(control, list) else [start])


def make_widget(ipywidgets, name: str, control: object, start: object) -> tuple:
    """An ipywidget for a control, and the row that shows it, with Play for whole numbers."""
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
    """MIME types and contents of an object, as a notebook would show it; without metadata."""
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
    """MIME types and contents as an output of a notebook's cell."""
    return {"output_type": "display_data", "data": data, "metadata": {}}
