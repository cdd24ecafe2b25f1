// A frame to draw a path in. With a kernel the path goes to it by a hidden line of text, and the
// clip comes back as a hidden picture; without one the nearest stored path is shown.
(() => {
  const id = "@ID", spec = "@SPEC";
  const SCALE = 10, FRAME_MS = 125, PATIENCE_MS = 30000, ORANGE = "#e69f00";

  function make(parent, tag, attributes = {}, text = "") {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return parent.appendChild(node);
  }

  // As many points as frames, equally far from each other along the drawn line: [[y, x], ...]
  function evenly(points) {
    const at = [0];
    for (let k = 1; k < points.length; k++)
      at.push(at[k - 1] + Math.hypot(points[k][0] - points[k - 1][0],
                                     points[k][1] - points[k - 1][1]));
    const length = at[at.length - 1], path = [];
    for (let f = 0, k = 1; f < spec.frames; f++) {
      const want = length * f / Math.max(spec.frames - 1, 1);
      while (k < at.length - 1 && at[k] < want) k++;
      const from = points[Math.max(k - 1, 0)], to = points[Math.min(k, points.length - 1)];
      const part = at.length > 1 && at[k] > at[k - 1] ? (want - at[k - 1]) / (at[k] - at[k - 1]) : 0;
      path.push([0, 1].map(i => from[i] + part * (to[i] - from[i])));
    }
    return path;
  }

  function nearest(path) {
    const far = spec.paths.map(p => p.reduce((sum, q, k) =>
      sum + (q[0] - path[k][0]) ** 2 + (q[1] - path[k][1]) ** 2, 0));
    return far.indexOf(Math.min(...far));
  }

  function boot(root, sheet) {
    const live = document.createElement("div");
    make(live, "div", { class: "head" },
         "Draw a path with the mouse or a finger; the digit follows it.");
    const canvas = make(live, "canvas", { width: spec.width * SCALE, height: spec.height * SCALE,
                                          role: "img" });
    const line = make(live, "div", { class: "line", role: "status" });
    const names = make(live, "div", { class: "paths", role: "group", "aria-label": "stored paths" });
    const context = canvas.getContext("2d");
    let clip = { image: sheet, row: 0 }, path = spec.paths[0], frame = 0, drawn = null;
    let asked = null, waiting = null;             // the path that went to the kernel, and a timer

    function show() {
      context.imageSmoothingEnabled = false;
      context.fillStyle = "black";
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (clip && !drawn)
        context.drawImage(clip.image, frame * spec.width, clip.row * spec.height, spec.width,
                          spec.height, 0, 0, canvas.width, canvas.height);
      const points = drawn || path;
      context.strokeStyle = context.fillStyle = ORANGE;
      context.lineWidth = 2;
      context.beginPath();
      for (const [y, x] of points) context.lineTo(x * SCALE, y * SCALE);
      context.stroke();
      if (!drawn) {
        context.beginPath();
        context.arc(path[frame][1] * SCALE, path[frame][0] * SCALE, 5, 0, 7);
        context.fill();
      }
      root.dataset.frame = frame;
    }
    function say(text) { line.textContent = text; canvas.setAttribute("aria-label", text); }
    function stored(k, text) {
      clearTimeout(waiting);
      clip = { image: sheet, row: k }; path = spec.paths[k]; frame = 0;
      root.dataset.shows = spec.names[k];
      [...names.children].forEach((b, i) => b.setAttribute("aria-pressed", i === k));
      say(text + "“" + spec.names[k] + "”, digit " + spec.labels[k] + ".");
      show();
    }
    const bridge = role => document.querySelector("." + id + "-" + role);

    function answered() {                         // also for another digit, and if it was late
      const image = bridge("picture"), text = bridge("line");
      const source = image && (image.tagName === "IMG" ? image : image.querySelector("img"));
      if (!asked || !source || !source.src) return;
      const came = new Image();
      const told = () => say((text && text.textContent.trim()) || "The orange path is yours.");
      came.onload = () => {
        if (!asked) return;
        clearTimeout(waiting);
        clip = { image: came, row: 0 }; path = asked; frame = 0; root.dataset.shows = "yours";
        told(); show();
      };
      came.onerror = () => { clearTimeout(waiting); told(); };              // there is no clip
      came.src = source.src;
    }

    function ask(points) {
      path = evenly(points);
      const box = bridge("text"), input = box && (box.matches("input") ? box
                                                   : box.querySelector("input"));
      if (!input) {
        asked = null;
        stored(nearest(path), "No kernel is running, so this is the nearest stored path: ");
        return;
      }
      [...names.children].forEach(b => b.setAttribute("aria-pressed", false));
      asked = path; clip = null; frame = 0; root.dataset.shows = "waiting";
      say("Asked the model; a clip needs some seconds.");
      clearTimeout(waiting);
      waiting = setTimeout(() => stored(nearest(path), "No answer came from the kernel. The nearest "
                                        + "stored path: "), PATIENCE_MS);
      const image = bridge("picture");
      if (image && !image.dataset.watched) {
        image.dataset.watched = "";
        new MutationObserver(answered).observe(image, { attributes: true, subtree: true,
                                                        attributeFilter: ["src"] });
      }
      const text = path.map(p => p.map(v => v.toFixed(2)).join(",")).join(" ");
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(
        input, text + "|" + Date.now());
      input.dispatchEvent(new Event("input", { bubbles: true }));
      input.dispatchEvent(new Event("change", { bubbles: true }));
      show();
    }

    function place(event) {
      const box = canvas.getBoundingClientRect();
      return [(event.clientY - box.top) / box.height * spec.height,
              (event.clientX - box.left) / box.width * spec.width];
    }
    canvas.addEventListener("pointerdown", event => {
      canvas.setPointerCapture(event.pointerId);
      drawn = [place(event)]; event.preventDefault(); show();
    });
    canvas.addEventListener("pointermove", event => {
      if (drawn) { drawn.push(place(event)); show(); }
    });
    const finish = () => { if (drawn) { const points = drawn; drawn = null; ask(points); } };
    canvas.addEventListener("pointerup", finish);
    canvas.addEventListener("pointercancel", () => { drawn = null; show(); });

    spec.names.forEach((name, k) => {
      make(names, "button", { type: "button" }, name).onclick = () => {
        asked = null; stored(k, "A stored path: ");
      };
    });
    const timer = setInterval(() => {
      if (!root.isConnected) { clearInterval(timer); return; }
      frame = (frame + 1) % spec.frames;
      if (!drawn) show();
    }, FRAME_MS);
    root.dataset.lmSuppressShortcuts = "true";
    root.querySelector(".still").replaceWith(live);
    stored(0, "A stored path: ");
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
