// Shows the tiles of one sheet. spec holds all that is needed; a page may hold several viewers, or
// the same viewer twice.
(() => {
  const id = "@ID", spec = "@SPEC";
  const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] };
  const QUIET = ["Home", "End", "PageUp", "PageDown", " ", "Enter"];       // the browser's own keys
  const PLAY = '<svg viewBox="0 0 10 10" aria-hidden="true"><path d="M1 0 L10 5 L1 10 Z"/></svg>';
  const PAUSE = '<svg viewBox="0 0 10 10" aria-hidden="true">'
    + '<path d="M1 0h3v10h-3z M6 0h3v10h-3z"/></svg>';

  function make(parent, tag, attributes = {}, text = "") {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return parent.appendChild(node);
  }

  function panel(stage, p) {
    const figure = make(stage, "figure");
    make(figure, "div", { class: "title" }).innerHTML = p.title;
    const tile = make(figure, "div", { class: "tile" });
    const canvas = make(tile, "canvas", { width: p.w, height: p.h, role: "img" });
    canvas.style.aspectRatio = spec.panels[0].w + " / " + spec.panels[0].h;
    const blank = make(tile, "div", { class: "blank" });
    const mark = p.row === null ? null : make(tile, "div", { class: "row" });
    if (p.colourbar.length) {
      const bar = make(figure, "figcaption", { class: "bar" });
      make(bar, "span", {}, p.colourbar[0]); make(bar, "i"); make(bar, "span", {}, p.colourbar[1]);
    }
    const note = make(figure, "figcaption", {}, p.caption);
    const context = canvas.getContext("2d");
    return (sheet, at, label) => {
      const i = Math.min(at[0], p.rows - 1), j = Math.min(at[1], p.columns - 1);
      context.drawImage(sheet, p.x + j * p.w, p.y + i * p.h, p.w, p.h, 0, 0, p.w, p.h);
      blank.textContent = (p.blank_texts || {})[i] || "";
      if (p.captions.length) note.textContent = p.captions[Math.min(i, p.captions.length - 1)];
      canvas.setAttribute("aria-label", p.name + ", " + label + ". " + note.textContent);
      if (mark) mark.style.top = 100 * ((p.row === "second" ? at[1] : p.row) + 0.5) / p.h + "%";
    };
  }

  function boot(root, sheet) {
    const live = document.createElement("div"), at = spec.sliders.map(s => s.start);
    live.className = "live";
    if (spec.caption) make(live, "div", { class: "head" }, spec.caption);
    const stage = make(live, "div", { class: "stage", tabindex: "0", role: "group" });
    stage.setAttribute("aria-label", "pictures; the arrow keys move through them");
    stage.style.setProperty("--columns", spec.columns);
    const panels = spec.panels.map(p => panel(stage, p));
    const controls = make(live, "div", { class: "sliders" }), ranges = [], outputs = [];

    function show() {
      const label = spec.sliders.map((s, k) => s.name + " " + s.value_labels[at[k]]).join(", ");
      for (const draw of panels) draw(sheet, [at[0], at[1] || 0], label);
      spec.sliders.forEach((s, k) => {
        ranges[k].value = at[k];
        ranges[k].setAttribute("aria-valuetext", s.value_labels[at[k]]);
        outputs[k].textContent = s.value_labels[at[k]];
      });
      for (const line of root.querySelectorAll(".cursor")) {
        line.setAttribute("x1", spec.cursor[at[0]]); line.setAttribute("x2", spec.cursor[at[0]]);
      }
      for (const cell of root.querySelectorAll("[data-column]"))
        cell.classList.toggle("now", +cell.dataset.column === at[0]);
      root.dataset.at = at.join(",");
    }
    function move(k, by, wrap = false) {
      const n = spec.sliders[k].value_labels.length, to = at[k] + by;
      at[k] = wrap ? (to + n) % n : Math.max(0, Math.min(n - 1, to));
      show();
    }

    spec.sliders.forEach((s, k) => {
      const button = make(controls, "button", { type: "button" });
      make(controls, "span", {}, s.name).onclick = () => range.focus();
      const range = make(controls, "input", { type: "range", min: 0, max: s.value_labels.length - 1 });
      range.setAttribute("aria-label", s.name);
      ranges.push(range); outputs.push(make(controls, "output"));
      range.addEventListener("input", () => { at[k] = +range.value; show(); });
      let timer = null;
      function play(on) {
        clearInterval(timer);
        timer = on ? setInterval(() => root.isConnected ? move(k, 1, true) : play(false), s.ms) : null;
        button.innerHTML = on ? PAUSE : PLAY;
        button.setAttribute("aria-label", (on ? "pause the " : "play the ") + s.name + "s");
      }
      button.addEventListener("click", () => play(timer === null));
      play(false);
    });
    make(live, "div", { class: "keys" }).innerHTML = spec.sliders.map((s, k) =>
      `<kbd>${"←↑"[k]}</kbd> <kbd>${"→↓"[k]}</kbd> ${s.name}`).join(" &nbsp; ");
    if (spec.plot) make(live, "div", { class: "plot" }).innerHTML = spec.plot;

    live.addEventListener("keydown", event => {                // JupyterLab would take these keys
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const [axis, by] = KEYS[event.key] || [];
      if (by) { move(Math.min(axis, at.length - 1), by); event.preventDefault(); }
      if (by || QUIET.includes(event.key)) event.stopPropagation();
    });
    root.dataset.lmSuppressShortcuts = "true";
    root.querySelector(".still").replaceWith(live);
    show();
  }

  const sheet = new Image();
  sheet.onload = () => {
    for (const root of document.querySelectorAll(`[data-minidiff="${id}"]:not([data-live])`)) {
      root.dataset.live = "";
      boot(root, sheet);
    }
  };
  sheet.src = spec.sheet;
})();
