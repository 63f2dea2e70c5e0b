"""The results as a picture: a bar for each row, with a line from the slowest to the fastest round."""

from typing import Final
from xml.etree import ElementTree

from benchmarks.results import Row, Table

WIDTH: Final = 860
LABELS: Final = 250
"""Where the bars begin (pixels)."""
VALUES: Final = 170
"""The space for the text behind the longest bar (pixels)."""
LINE: Final = 26
HEADING: Final = 44
MARGIN: Final = 16
OURS: Final = "#1f6feb"
FLOOR: Final = "#8b949e"


def to_svg(tables: list[Table]) -> str:
    """Return an SVG document with all tables, one below the other."""
    height = 2 * MARGIN + sum(HEADING + LINE * len(table.rows) for table in tables)
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height}",
            "width": str(WIDTH),
            "height": str(height),
            "role": "img",
            "font-family": "system-ui, sans-serif",
            "font-size": "13",
        },
    )
    ElementTree.SubElement(svg, "title").text = "; ".join(table.title for table in tables)
    ElementTree.SubElement(svg, "rect", {"width": "100%", "height": "100%", "fill": "#ffffff"})
    top = MARGIN
    for table in tables:
        _text(svg, MARGIN, top + 22, f"{table.title}, {table.unit}/s", **{"font-weight": "600"})
        longest = max((row.rate.max for row in table.rows), default=1.0) or 1.0
        for number, row in enumerate(table.rows):
            _bar(svg, table, row, top + HEADING + LINE * number, (WIDTH - LABELS - VALUES) / longest)
        top += HEADING + LINE * len(table.rows)
    return ElementTree.tostring(svg, encoding="unicode", xml_declaration=False) + "\n"


def _bar(svg: ElementTree.Element, table: Table, row: Row, top: float, scale: float) -> None:
    """Draw a row; `scale` is pixels for one per second."""
    rate, ratio, middle = row.rate, table.ratio(row), top + LINE / 2 - 2
    is_floor = any(each.floor == row.name for each in table.rows)
    _text(svg, LABELS - 10, middle + 4, row.name, **{"text-anchor": "end"})
    bar = {"x": str(LABELS), "y": f"{top:.1f}", "width": f"{rate.median * scale:.1f}", "height": str(LINE - 6)}
    ElementTree.SubElement(svg, "rect", bar | {"fill": FLOOR if is_floor else OURS})
    ends = {"x1": f"{LABELS + rate.min * scale:.1f}", "x2": f"{LABELS + rate.max * scale:.1f}"}
    line = {"y1": f"{middle:.1f}", "y2": f"{middle:.1f}", "stroke": "#24292f", "stroke-width": "2"}
    ElementTree.SubElement(svg, "line", ends | line)
    value = f"{rate.median:,.0f}" + (f" ({ratio.median:.2f} of its floor)" if ratio else "")
    _text(svg, LABELS + rate.max * scale + 8, middle + 4, value)


def _text(svg: ElementTree.Element, x: float, y: float, text: str, **attributes: str) -> None:
    element = ElementTree.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "fill": "#24292f"} | attributes)
    element.text = text
