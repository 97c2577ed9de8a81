"""`fastmlp.drawing` and `layout`: every edge in order, DOT that parses, boxes apart, text inside its box."""

import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import FancyBboxPatch

import fastmlp as fm
from fastmlp.graph import nodes_of
from fastmlp.show import drawing as room
from fastmlp.show.layout import Layout


def net(**options) -> tuple[fm.nn.Module, fm.Tensor]:
    fm.manual_seed(0)
    model = fm.nn.MLP(4, (5,), 10, **options).double()
    x = np.random.default_rng(0).normal(size=(5, 4))
    return model, fm.ops.cross_entropy(model(fm.Tensor(x)), [0, 1, 2, 3, 4])


def square() -> tuple[dict, fm.Tensor]:
    x = fm.Tensor(2.0, requires_grad=True)
    return {x: "x"}, x * x


def residual() -> tuple[dict, fm.Tensor]:
    a = fm.Tensor(np.ones((5, 4)), requires_grad=True)
    w = fm.Parameter(np.ones((4, 4)))
    h = a
    for _ in range(3):
        h = h + fm.ops.relu(fm.ops.linear(h, w))
    return {a: "a", w: "w"}, (h * a).sum()


GRAPHS = {
    "net": net,
    "batch norm and dropout": lambda: net(batch_norm=True, dropout=0.5),
    "x * x": square,
    "residual": residual,
}


@pytest.fixture(params=GRAPHS)
def graph(request) -> tuple:
    return GRAPHS[request.param]()


TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[A-Za-z_][\w.]*|[\d.]+|[{}\[\];,=])')


def parse_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Nodes with their labels and edges, by the grammar of the part of the language that is used."""
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match, text[at : at + 40]
        tokens.append(match[1])
        at = match.end()
    take = iter(tokens).__next__
    assert [take(), take(), take()] == ["digraph", "autograd", "{"]
    nodes, edges = {}, []
    while (name := take()) != "}":
        end, token, options = None, take(), {}
        if token == "->":
            end, token = take(), take()
        assert token == "["
        while token != "]":
            key = take()
            assert take() == "="
            options[key], token = take(), take()
            assert token in (",", "]")
        assert take() == ";"
        label = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], options.get("label", '""')[1:-1])
        if end is not None:
            edges.append((name, end, label))
        elif name not in ("graph", "node", "edge"):
            nodes[name] = label
    with pytest.raises(StopIteration):
        take()
    return nodes, edges


def test_every_edge_is_kept_in_order_and_every_node_once(graph):
    labels, loss = graph
    nodes = nodes_of(loss)
    number = {id(node): i for i, node in enumerate(nodes)}
    expected = [(i, number[id(b)]) for i, n in enumerate(nodes) for b, _ in n.next_functions if b is not None]
    picture = fm.draw(loss, labels)
    assert len(picture.boxes) == len(nodes)
    assert [(arrow.start, arrow.end) for arrow in picture.arrows] == expected
    names, edges = parse_dot(picture.dot)
    assert [(int(a[1:]) - 1, int(b[1:]) - 1) for a, b, _ in edges] == expected
    assert [label for _, _, label in edges] == [arrow.label for arrow in picture.arrows]
    assert [label.split("\n")[0] for label in names.values()] == [box.title for box in picture.boxes]


def test_x_times_x_has_two_arrows_to_one_box():
    labels, loss = square()
    picture = fm.draw(loss, labels)
    assert [(a.start, a.end, a.label) for a in picture.arrows] == [(0, 1, "a"), (0, 1, "b")]
    assert picture.boxes[1].title == "x  ()"
    assert picture.boxes[1].leaf


def test_a_box_says_what_its_node_says():
    model, loss = net()
    box = next(box for box in fm.draw(loss, model).boxes if box.title == "6  AddmmBackward0")
    assert box.lines == (
        "output (5, 5)", "forward  y = b + x w", "backward  db = Σₙ dy,", "dx = dy wᵀ,", "dw = xᵀ dy",
        "keeps x (5, 4)", "x wants no gradient",
    )  # fmt: skip
    loss.backward()
    assert "kept, now freed: x (5, 4)" in fm.draw(loss, model).boxes[5].lines


@pytest.mark.parametrize("name", ['a"b', "a\\", "a\\nb", "a\nb", "$x$", "<b>", "}; n1 -> n2", "μ ← ₙ"])
def test_any_name_survives_in_dot_and_svg(name):
    x = fm.Tensor(2.0, requires_grad=True)
    picture = fm.draw(x * 3.0, {x: name})
    nodes, edges = parse_dot(picture.dot)
    assert nodes["n2"].split("  ")[0] == name.replace("\n", " ")
    assert len(edges) == 1
    assert picture.svg.count("<svg") == 1


def test_the_parser_refuses_a_quote_that_is_not_escaped():
    with pytest.raises((AssertionError, StopIteration)):
        parse_dot('digraph autograd { n1 [label="a"b"]; }')


def overlaps(figure) -> list[str]:
    """Boxes that overlap, texts that stick out of every box but begin in one, boxes outside the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    ax = figure.axes[0]
    boxes = [p.get_window_extent(renderer) for p in ax.patches if isinstance(p, FancyBboxPatch)]
    found = [f"boxes {a} and {b}" for (a, p), (b, q) in combinations(enumerate(boxes), 2) if p.overlaps(q)]
    whole = figure.bbox
    found += [f"box {i} outside" for i, b in enumerate(boxes) if b.x0 < 0 or b.y0 < 0 or b.x1 > whole.x1]
    for text in ax.texts:
        e = text.get_window_extent(renderer)
        inside = [b.x0 <= e.x0 and e.x1 <= b.x1 and b.y0 <= e.y0 and e.y1 <= b.y1 for b in boxes]
        touching = [b.overlaps(e) for b in boxes]
        if sum(touching) != sum(inside):
            found.append(f"text {text.get_text()!r}")
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_boxes_are_apart_and_text_lies_in_its_box(graph, dark):
    labels, loss = graph
    assert overlaps(fm.draw(loss, labels, dark).figure()) == []


def test_the_check_finds_boxes_too_near_and_text_too_wide(monkeypatch):
    labels, loss = net()
    monkeypatch.setattr(room, "PADDING", -0.2)
    assert any(fault.startswith("text") for fault in overlaps(fm.draw(loss, labels).figure()))
    monkeypatch.undo()
    monkeypatch.setattr(room, "Layout", lambda sizes, edges: Layout(sizes, edges, gap=(-1.0, -0.5)))
    assert any(fault.startswith("boxes") for fault in overlaps(fm.draw(loss, labels).figure()))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_graph_is_laid_out_without_overlap(data):
    count = data.draw(st.integers(1, 12))
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda p: p[0] < p[1])
    edges = data.draw(st.lists(pair, max_size=20)) if count > 1 else []
    sizes = data.draw(st.lists(st.tuples(st.floats(0.5, 3), st.floats(0.3, 2)), min_size=count, max_size=count))
    layout = Layout(sizes, edges)
    for (a, (x, y)), (b, (u, v)) in combinations(enumerate(layout.centers), 2):
        beside = abs(x - u) >= (sizes[a][0] + sizes[b][0]) / 2 - 1e-9  # rounding of sums of some ten lengths
        assert beside or abs(y - v) >= (sizes[a][1] + sizes[b][1]) / 2 - 1e-9
    for (a, b), path in zip(edges, layout.paths, strict=True):
        assert layout.layer[a] < layout.layer[b]
        assert path[0][1] == pytest.approx(layout.centers[a][1] + sizes[a][1] / 2)
        assert path[-1][1] == pytest.approx(layout.centers[b][1] - sizes[b][1] / 2)


def test_a_crossing_that_is_not_needed_is_taken_out(monkeypatch):
    """0 and 2 lead to one box, 1 to another: drawn as given they cross, side by side they do not."""
    edges = [(0, 3), (1, 4), (2, 3)]
    assert Layout([(1, 1)] * 5, edges).crossings() == 0
    monkeypatch.setattr("fastmlp.show.layout.SWEEPS", 0)
    assert Layout([(1, 1)] * 5, edges).crossings() == 1


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="circle"):
        Layout([(1, 1)] * 2, [(0, 1), (1, 0)])


def test_files_by_their_ending(tmp_path):
    model, loss = net()
    picture = fm.draw(loss, model)
    assert picture.save(tmp_path / "g.svg").read_text("utf-8") == picture.svg == fm.draw(loss, model).svg
    assert picture.save(tmp_path / "g.dot").read_text("utf-8") == picture.dot
    assert picture.save(tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"save: path is .* must end with"):
        picture.save(tmp_path / "g.pdf")


def test_a_deep_graph_has_dot_and_refuses_a_picture():
    x = fm.Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y + x
    picture = fm.draw(y, {x: "x"})
    assert len(picture.arrows) == 20_000
    assert picture.dot.count(" -> n10001 ") == 10_001
    with pytest.raises(ValueError, match=r"10,001 nodes; a picture may have at most 1,000"):
        _ = picture.svg


def test_what_is_no_graph_is_refused():
    x = fm.Tensor(1.0, requires_grad=True)
    with pytest.raises(TypeError, match="draw: loss is int"):
        fm.draw(3)
    with pytest.raises(ValueError, match="requires_grad False"):
        fm.draw(fm.Tensor(1.0))
    with pytest.raises(TypeError, match="draw: labels is list"):
        fm.draw(x * 2, [x])
    with pytest.raises(TypeError, match="key of type str"):
        fm.draw(x * 2, {"x": x})


def chain(layers: int) -> fm.Tensor:
    x = fm.Tensor(1.0, requires_grad=True)
    for _ in range(layers):
        x = x * 2
    return x


def test_a_png_has_a_bounded_number_of_pixels(monkeypatch, tmp_path):
    import matplotlib.image

    from fastmlp.show import drawing

    picture = fm.draw(chain(12))
    whole = matplotlib.image.imread(picture.save(tmp_path / "whole.png")).shape
    monkeypatch.setattr(drawing, "MOST_PIXELS", whole[0] * whole[1] // 4)
    less = matplotlib.image.imread(picture.save(tmp_path / "less.PNG")).shape
    assert less[0] * less[1] <= whole[0] * whole[1] / 4
    monkeypatch.setattr(drawing, "MOST_PIXELS", whole[0] * whole[1] // 40)
    with pytest.raises(ValueError, match=r"as \.png it would be too large, or too small to read: use \.svg or \.dot"):
        picture.save(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    assert picture.save(tmp_path / "still.SVG").read_text("utf-8").count("<svg") == 1


# --- letters that DejaVu Sans lacks ----------------------------------------------------------------------------------


def named(label: str) -> room.Drawing:
    x = fm.Tensor(2.0, requires_grad=True)
    return fm.draw(x * x, {x: label})


@pytest.fixture
def chinese_font(tmp_path):
    """A font with two letters, filled squares, for as long as the test runs."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib.font_manager import fontManager

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    glyphs = [".notdef", "in", "put"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap({ord("输"): "in", ord("入"): "put"})
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    before = list(fontManager.ttflist)
    fontManager.ttflist[:] = [entry for entry in before if entry.name == room.FONT]
    fontManager.addfont(tmp_path / "squares.ttf")
    yield
    fontManager.ttflist[:] = before
    fontManager.addfont(before[0].fname)  # forgets which font was found for which name
    fontManager.ttflist[:] = before


def test_letters_are_taken_from_an_installed_font_that_has_them(chinese_font, tmp_path, recwarn):
    assert room.fonts_for(["x", "输入"]) == ([room.FONT, "Squares"], "")
    drawing = named("输入")
    assert "<text" not in drawing.svg  # as outlines
    drawing.save(tmp_path / "graph.png")
    assert not [w for w in recwarn if "Glyph" in str(w.message) or "font" in str(w.message)]


def test_letters_that_no_font_has_stay_text_in_an_svg(chinese_font, tmp_path, recwarn):
    """Whoever opens it may have them: a browser looks in all its fonts."""
    drawing = named("权重")
    assert re.search(r"<text [^>]*>权重  \(\)</text>", drawing.svg)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"no font of this machine has the letters 权重, .*; use \.svg or \.dot"):
        drawing.save(tmp_path / "graph.png")
    assert "权重" in drawing.dot


def test_a_box_has_room_for_letters_that_are_as_wide_as_high(chinese_font, recwarn):
    """20 letters of 10 points, which the viewer of an SVG draws; without asking a font that has none of them."""
    _, leaf = [p for p in named("权" * 20).figure().axes[0].patches if isinstance(p, FancyBboxPatch)]
    assert leaf.get_width() >= 20 * room.TITLE_POINTS / 72 + 2 * room.PADDING
    assert not recwarn.list


def test_what_dejavu_has_is_drawn_with_it_alone():
    families, unknown = room.fonts_for(["dw = xᵀ dy", "Σₙ", "m̂", "∛ε"])
    assert (families, unknown) == ([room.FONT], "")
    assert "<text" not in named("x").svg
