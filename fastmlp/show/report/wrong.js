// The wrong rows: sorted, filtered, drawn a few at a time. One of them is in the tab order; arrow keys go on from there.

const wrong = run.wrong;

if (wrong && wrong.total) {
  const AT_ONCE = 48;
  const list = byId("wrong-list"), more = byId("wrong-more"), form = byId("wrong-controls");
  const sort = byId("wrong-sort"), isTrue = byId("wrong-true"), isPredicted = byId("wrong-predicted");
  const least = byId("wrong-least"), leastText = byId("wrong-least-text"), counted = byId("wrong-count");
  const pixels = wrong.pixels ? bytes(wrong.pixels) : null;
  const area = pixels ? run.shape[0] * run.shape[1] : 0;
  let chosen = [];

  const card = (i) => {
    const item = document.createElement("li");
    const inside = document.createElement(layers ? "button" : "div");
    const grey = pixels && pixels.subarray(i * area, (i + 1) * area);
    if (grey) {
      const canvas = document.createElement("canvas");
      [canvas.height, canvas.width] = run.shape;
      canvas.className = "pixels";
      canvas.setAttribute("aria-hidden", "true");
      paint(canvas, Array.from(grey, (v) => v / 255));
      inside.append(canvas);
    }
    const text = document.createElement("span");
    text.innerHTML = '<b class="bad"></b> true <b></b><small></small>';
    text.children[0].textContent = `predicted ${named(wrong.predicted[i])}`;
    text.children[1].textContent = named(wrong.true[i]);
    text.children[2].textContent = `${percent(wrong.probability[i])} · row\u00a0${wrong.index[i]}`;
    inside.append(text);
    if (layers) {
      inside.type = "button";
      inside.tabIndex = -1;
      inside.addEventListener("click", () => {
        const scaled = grey.length ? Float32Array.from(grey, (v) => run.black + (v / 255) * (run.white - run.black)) : null;
        run.choose(scaled, `Row ${wrong.index[i]}: a ${named(wrong.true[i])} that was predicted as ${named(wrong.predicted[i])}.`);
        byId("draw").scrollIntoView({ block: "start" });
        byId("draw").focus({ preventScroll: true });
      });
    }
    item.dataset.true = wrong.true[i];
    item.dataset.predicted = wrong.predicted[i];
    item.dataset.index = wrong.index[i];
    item.dataset.probability = wrong.probability[i];
    item.append(inside);
    return item;
  };

  const grow = () => {
    const start = list.children.length;
    list.append(...chosen.slice(start, start + AT_ONCE).map(card));
    if (layers && !start && list.firstChild) list.firstChild.firstChild.tabIndex = 0;
    more.hidden = list.children.length >= chosen.length;
    more.textContent = `Show ${Math.min(AT_ONCE, chosen.length - list.children.length)} more`;
    return start;
  };

  const refresh = () => {
    const by = wrong[sort.value];
    const falling = sort.value.endsWith("probability") ? -1 : 1;
    leastText.textContent = `${least.value} %`;
    chosen = [...wrong.index.keys()]
      .filter((i) => isTrue.value === "" || wrong.true[i] === Number(isTrue.value))
      .filter((i) => isPredicted.value === "" || wrong.predicted[i] === Number(isPredicted.value))
      .filter((i) => least.value === "0" || wrong.probability[i] >= least.value / 100)
      .sort((a, b) => falling * (by[a] - by[b]) || a - b);
    counted.textContent = `${chosen.length} of ${wrong.index.length} match.`;
    list.replaceChildren();
    grow();
  };

  const focusOn = (item) => {
    if (!item) return;
    for (const button of list.querySelectorAll('[tabindex="0"]')) button.tabIndex = -1;
    item.firstChild.tabIndex = 0;
    item.firstChild.focus();
  };

  list.addEventListener("keydown", (event) => {
    const items = [...list.children], at = items.indexOf(event.target.closest("li"));
    const across = items.filter((item) => item.offsetTop === items[0].offsetTop).length;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
    if (event.key in moves) focusOn(items[at + moves[event.key]]);
    else if (event.key === "Home") focusOn(items[0]);
    else if (event.key === "End") focusOn(items.at(-1));
    else return;
    event.preventDefault();
  });
  more.addEventListener("click", () => {
    const start = grow();
    if (layers) focusOn(list.children[start]);
  });
  form.addEventListener("input", refresh);
  form.addEventListener("change", refresh);
  form.addEventListener("reset", () => setTimeout(refresh));
  form.addEventListener("submit", (event) => event.preventDefault());
  refresh();
}
