// The canvas to draw on, the image the network sees, and its answer.

const MOST_BARS = 26; // with more classes, the likeliest are shown
const BRUSH = 11, SOFT = 5; // radius and the width of its soft edge, in pixels of the canvas
const STEP = 10; // of the keyboard's pen

const byId = (id) => document.getElementById(id);
const percent = (p) => {
  if (p === null || !Number.isFinite(p)) return "–";
  return p < 1 && p >= 0.9995 ? ">99.9 %" : `${(100 * p).toFixed(1)} %`; // 100 % would not be true
};

/** The name of a class: its number where it has none. */
const named = (c) => (run.names ? run.names[c] : c);

/** Show what the network makes of a row of pixels; `words` say where it is from. Returns the sentence. */
let show = () => "";

if (layers) {
  const seen = byId("seen"), bars = byId("bars"), says = byId("says"), source = byId("source");
  const strips = byId("strips");
  const explained = source.textContent;
  const count = Math.min(run.net.classes, MOST_BARS);
  bars.classList.toggle("few", count <= 12);
  const lines = Array.from({ length: count }, (_, c) => {
    const line = document.createElement("li");
    line.innerHTML = '<span class="class"></span><span class="track"><span></span></span><span class="value"></span>';
    const [name, track, value] = line.children;
    bars.append(line);
    return { line, name, fill: track.firstChild, value, c };
  });

  const fill = (probabilities) => {
    let order = lines.map((_, c) => c);
    if (probabilities && run.net.classes > MOST_BARS) {
      order = probabilities.map((_, c) => c).sort((a, b) => probabilities[b] - probabilities[a]);
    }
    const most = probabilities ? Math.max(...probabilities) : NaN;
    lines.forEach(({ line, name, fill, value }, i) => {
      const c = order[i], p = probabilities ? probabilities[c] : null;
      name.textContent = named(c);
      line.dataset.class = c;
      line.classList.toggle("first", p !== null && p === most);
      fill.style.width = Number.isFinite(p) ? `${100 * p}%` : "0";
      value.textContent = percent(p);
    });
  };

  /** A row of small squares for each layer's output: blue above 0, orange below, stronger when larger. */
  const inside = (outputs) => {
    const place = strips.querySelector("div");
    place.replaceChildren();
    for (const { kind, output } of outputs) {
      if (kind === "Dropout") continue;
      const most = output.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-9);
      const across = Math.min(32, output.length), down = Math.ceil(output.length / across);
      const canvas = document.createElement("canvas");
      canvas.width = across * 6;
      canvas.height = down * 6;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${kind}: ${output.length} values, the largest ${most.toFixed(2)}`);
      const context = canvas.getContext("2d");
      output.forEach((v, i) => {
        context.fillStyle = v < 0 ? "#d55e00" : "#0a84d0";
        context.globalAlpha = 0.06 + (0.94 * Math.abs(v)) / most;
        context.fillRect((i % across) * 6, Math.floor(i / across) * 6, 5, 5);
      });
      const name = document.createElement("p");
      name.textContent = `${kind}, ${output.length}`;
      place.append(name, canvas);
    }
  };

  let shown = null;
  show = (pixels, words) => {
    shown = pixels;
    const range = run.white - run.black;
    paint(seen, Array.from(pixels, (v) => Math.min(Math.max((v - run.black) / range, 0), 1)));
    const outputs = forward(pixels);
    const probabilities = probabilitiesOf(outputs.at(-1).output);
    fill(probabilities);
    if (strips.open) inside(outputs);
    const best = probabilities.indexOf(Math.max(...probabilities));
    const sentence =
      best < 0 ? "The weights are not finite: there is no prediction." : `It is a ${named(best)}, ${percent(probabilities[best])} sure.`;
    source.textContent = words || explained;
    seen.setAttribute("aria-label", words || "Your drawing, prepared");
    return sentence;
  };
  const nothing = () => {
    shown = null;
    paint(seen, new Float32Array(seen.width * seen.height));
    strips.querySelector("div").replaceChildren();
    fill(null);
    says.textContent = "Draw something.";
    source.textContent = explained;
    seen.setAttribute("aria-label", "Nothing yet");
  };
  strips.addEventListener("toggle", () => shown && strips.open && inside(forward(shown)));

  // --- the canvas ---
  const pad = byId("pad"), pen = byId("pen"), state = byId("pad-state");
  const { width, height } = pad;
  const ink = new Float32Array(width * height);
  let due = false;

  const look = (aloud = true) => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      paint(pad, ink);
      if (!ink.some((v) => v > FAINT)) return nothing();
      const sentence = show(prepare(ink, width, height), "");
      if (aloud || !says.dataset.live) says.textContent = sentence;
    });
  };

  /** A stroke of the brush: at each pixel the most ink of all strokes, from the distance to the line. */
  const stroke = (x0, y0, x1, y1) => {
    const reach = BRUSH + SOFT, dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
    const left = Math.max(0, Math.floor(Math.min(x0, x1) - reach)), right = Math.min(width - 1, Math.max(x0, x1) + reach);
    const top = Math.max(0, Math.floor(Math.min(y0, y1) - reach)), bottom = Math.min(height - 1, Math.max(y0, y1) + reach);
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const t = length ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length)) : 0;
        const distance = Math.hypot(x - x0 - t * dx, y - y0 - t * dy);
        const value = Math.min(1, Math.max(0, (BRUSH + SOFT / 2 - distance) / SOFT));
        const at = y * width + x;
        if (value > ink[at]) ink[at] = value;
      }
    }
    look();
  };
  const clear = () => {
    ink.fill(0);
    look();
    state.textContent = "Cleared.";
  };
  byId("clear").addEventListener("click", clear);

  // mouse, finger and pen: each pointer draws its own line
  const pointers = new Map();
  const spot = (event) => {
    const frame = pad.getBoundingClientRect();
    return [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    pad.focus({ preventScroll: true, focusVisible: false });
    pad.setPointerCapture(event.pointerId);
    const [x, y] = spot(event);
    pointers.set(event.pointerId, [x, y]);
    state.textContent = "";
    stroke(x, y, x, y);
  });
  pad.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    let [x0, y0] = last;
    for (const part of all.length ? all : [event]) {
      const [x, y] = spot(part);
      stroke(x0, y0, x, y);
      [x0, y0] = [x, y];
    }
    pointers.set(event.pointerId, [x0, y0]);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    pad.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }

  // keyboard: arrows move the pen, two together go aslant
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const held = new Set();
  let penX = width / 2, penY = height / 2, down = false;
  const place = () => {
    pen.style.left = `${(100 * penX) / width}%`;
    pen.style.top = `${(100 * penY) / height}%`;
    pen.classList.toggle("down", down);
  };
  const lift = () => {
    down = false;
    held.clear();
    place();
  };
  pad.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in ARROWS) {
      held.add(event.key);
      const [x, y] = [penX, penY];
      for (const name of held) {
        penX = Math.min(width - BRUSH, Math.max(BRUSH, penX + STEP * ARROWS[name][0]));
        penY = Math.min(height - BRUSH, Math.max(BRUSH, penY + STEP * ARROWS[name][1]));
      }
      if (down) stroke(x, y, penX, penY);
    } else if (event.key === " " || event.key === "Enter") {
      if (event.repeat) return event.preventDefault();
      down = !down;
      state.textContent = down ? "The pen is down." : "The pen is up.";
      if (down) stroke(penX, penY, penX, penY);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      lift();
      clear();
    } else {
      return;
    }
    event.preventDefault();
    place();
  });
  pad.addEventListener("keyup", (event) => held.delete(event.key));
  pad.addEventListener("blur", lift);

  place();
  nothing();
  window.fastmlp = Object.freeze({ predict, forward, prepare, layers, shape: run.shape, ink });
  run.choose = (pixels, words) => {
    ink.fill(0);
    paint(pad, ink);
    says.textContent = show(pixels, words);
  };
}
