"""The flow of a contract, drawn from the one table of its states:

    .venv/bin/python -m tests.contract_flow

rewrites docs/images/contract-flow.svg, and the diagram in docs/explanation/contracts.md. A test sees that both are what
this draws.
"""

from __future__ import annotations

from html import escape
from typing import Final

from aggregator.economy.contracts.states import FINAL, MAKER, NEXT_STATE, RESPONSIBLE, Maker, State, Step
from tests.architecture.house import ROOT

PICTURE: Final = ROOT / "docs/images/contract-flow.svg"
PAGE: Final = ROOT / "docs/explanation/contracts.md"
BEGIN, END = "<!-- drawn from the table of states -->\n", "<!-- until here -->\n"

PLACES: Final[dict[State, tuple[int, int]]] = {
    State.OFFERED: (75, 150),
    State.AGREED: (275, 150),
    State.VERIFIED: (460, 150),
    State.REJECTED: (275, 290),
    State.CONFIRMED: (645, 150),
    State.DELIVERING: (830, 150),
    State.FULFILLED: (1030, 50),
    State.BREACHED: (1030, 250),
    State.TERMINATED: (737, 380),
    State.DISPUTED: (1200, 380),
    State.ARBITRATED: (1245, 190),
    State.SETTLED: (1440, 50),
}
"""Middle of every state's box."""
BENDS: Final[dict[tuple[State, Step], int]] = {
    (State.VERIFIED, Step.CONFIRM): 26,
    (State.VERIFIED, Step.APPROVE): -26,
    (State.VERIFIED, Step.LAPSE): 60,
    (State.VERIFIED, Step.WITHDRAW): 0,
    (State.FULFILLED, Step.BREACH): 26,
    (State.BREACHED, Step.FULFIL): 26,
    (State.FULFILLED, Step.DISPUTE): 40,
    (State.BREACHED, Step.SETTLE): 20,
    (State.TERMINATED, Step.SETTLE): -240,
    (State.DISPUTED, Step.SETTLE): -20,
}
"""How far an arrow leaves the straight way, to its left."""
WIDTH, HEIGHT = 1510, 500
BOX: Final = (116, 44)
COLOURS: Final = {
    Maker.OTHER_PARTY: "#0072b2",
    Maker.PARTY: "#0072b2",
    Maker.VERDICT: "#7a5195",
    Maker.BLOCK: "#7a5195",
    Maker.CLOCK: "#666666",
    Maker.METERS: "#00785a",
    Maker.REGULATOR: "#c04f00",
}
"""Of the arrow, by who makes the step; the label says it, too."""


def words(text: str) -> str:
    """A name of the table, for people."""
    return text.lower().replace("_", " ")


def mermaid() -> str:
    """The diagram as a page's code block, and the table of who makes which step."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.OFFERED.name.lower()}"]
    lines += [
        f"    {begin.name.lower()} --> {end.name.lower()}: {words(step.name)} ({words(MAKER[step].name)})"
        for (begin, step), end in NEXT_STATE.items()
    ]
    lines += [f"    {state.name.lower()} --> [*]" for state in State if state in FINAL]
    lines += ["```", "", "| step | made by | from | to |", "| --- | --- | --- | --- |"]
    for step in Step:
        ways = [(begin, end) for (begin, made), end in NEXT_STATE.items() if made is step]
        begins = ", ".join(dict.fromkeys(words(begin.name) for begin, _ in ways))
        ends = ", ".join(dict.fromkeys(words(end.name) for _, end in ways))
        lines.append(f"| {words(step.name)} | {MAKER[step].said} | {begins} | {ends} |")
    lines += ["", "| failure | who answers for it |", "| --- | --- |"]
    lines += [f"| {words(state.name)} | {who} |" for state, who in RESPONSIBLE.items()]
    return "\n".join(lines) + "\n"


def svg() -> str:
    """The picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<title>How a contract goes from state to state</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for maker, colour in COLOURS.items():
        parts.append(
            f'<marker id="{maker.name.lower()}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            f' orient="auto"><path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
        )
    arrows = [arrow(begin, step, end) for (begin, step), end in NEXT_STATE.items()]
    parts += [path for path, _ in arrows] + [label for _, label in arrows]
    for state, (x, y) in PLACES.items():
        stroke = 3 if state in FINAL else 1
        parts.append(
            f'<rect x="{x - BOX[0] // 2}" y="{y - BOX[1] // 2}" width="{BOX[0]}" height="{BOX[1]}" rx="8"'
            f' fill="#f4f4f4" stroke="#333333" stroke-width="{stroke}"/>'
            f'<text x="{x}" y="{y + 5}" text-anchor="middle" font-size="15">{escape(words(state.name))}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def arrow(begin: State, step: Step, end: State) -> tuple[str, str]:
    """An arrow between two boxes, bent if `BENDS` says so, and its label: its step and who makes it."""
    (x0, y0), (x1, y1) = PLACES[begin], PLACES[end]
    bend, length = BENDS.get((begin, step), 0), max(1, round(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5))
    middle = ((x0 + x1) // 2 + (y1 - y0) * bend * 2 // length, (y0 + y1) // 2 - (x1 - x0) * bend * 2 // length)
    start, stop = edge((x0, y0), middle), edge((x1, y1), middle)
    maker = MAKER[step]
    label = (round(0.25 * start[0] + 0.5 * middle[0] + 0.25 * stop[0]), (start[1] + 2 * middle[1] + stop[1]) // 4)
    path = (
        f'<path d="M{start[0]} {start[1]}Q{middle[0]} {middle[1]} {stop[0]} {stop[1]}" fill="none"'
        f' stroke="{COLOURS[maker]}" stroke-width="1.5" marker-end="url(#{maker.name.lower()})"/>'
    )
    text = (
        f'<text x="{label[0]}" y="{label[1] - 5}" text-anchor="middle" font-size="12" fill="{COLOURS[maker]}"'
        f' paint-order="stroke" stroke="#ffffff" stroke-width="4">{words(step.name)}'
        f'<tspan x="{label[0]}" dy="16" font-size="11">{words(maker.name)}</tspan></text>'
    )
    return path, text


def edge(middle: tuple[int, int], towards: tuple[int, int]) -> tuple[int, int]:
    """Where the way from a box's middle leaves the box."""
    dx, dy = towards[0] - middle[0], towards[1] - middle[1]
    share = min(
        (BOX[0] // 2) / abs(dx) if dx else 2.0,
        (BOX[1] // 2) / abs(dy) if dy else 2.0,
    )
    return round(middle[0] + dx * share), round(middle[1] + dy * share)


def page_with(diagram: str) -> str:
    """The page of explanation, with this diagram in its place."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{diagram}\n{END}{after}"


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
    PAGE.write_text(page_with(mermaid()), encoding="utf-8")
