"""A report as one HTML page: figures, how they compare, plots and faces, for a screen of any width."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from celebgen_cli import __version__
from celebgen_cli.evaluation.figures import FIGURES
from celebgen_cli.evaluation.report_parts import PARTS, Measured
from celebgen_cli.images import read_pixels
from celebgen_cli.pages import html
from celebgen_cli.pages.pictures import picture
from celebgen_cli.pages.plots import COLOURS, bars_plot

TITLES = {
    "fid": "Distance to real faces", "prc": "Precision and recall", "attributes": "Attributes",
    "text": "Text", "reconstruction": "Reconstruction and prior", "memorization": "Memorization and diversity",
}  # fmt: skip

REAL_NOTICE = (
    "This page shows photographs of people. CelebA is for non-commercial research only, and its pictures must not be "
    "published: keep this page to yourself, or make it again without --real-pictures."
)
WORST_PAIRS = 12


def render(measured: Measured, value: Mapping[str, Any]) -> str:
    """The whole page of what was measured and its JSON."""
    generated, parts = value["generated"], measured.parts
    sections = [("figures", "Figures", _figures(value))]
    if "against" in value:
        sections.append(("against", "Compared", _against(value["against"])))
    if len(measured.faces):
        sections.append(("faces", "Faces", _faces(measured)))
    makers = {
        "fid": lambda part, work: _stages(parts) + _distance(part, work), "prc": _distance, "attributes": _attributes,
        "text": _text, "reconstruction": _reconstruction, "memorization": _memorization,
    }  # fmt: skip
    sections += [(name, TITLES[name], makers[name](parts[name], measured.work)) for name in makers if name in parts]
    sections.append(("how", "How it was measured", _how(value)))
    photographs = (measured.work / "pairs.png").is_file() or (measured.work / "reconstruction").is_dir()
    words = [str(generated.get("source")), f"made {value['made']}"]
    if generated.get("size"):
        words.insert(1, f"{generated['size']} px, crop {generated.get('crop') or 'unknown'}")
    summary = escape(", ".join(words)) + "."
    notice, footer = REAL_NOTICE if photographs else "", f"celebgen {__version__} evaluate report"
    return html.document(f"{generated.get('source')}: report", summary, notice, sections, footer)


def _figures(value: Mapping[str, Any]) -> str:
    against = value.get("against", {}).get("differences", {})
    rows = []
    for name, number in value["figures"].items():
        figure = FIGURES[name]
        row = [f"{escape(figure.title)} <small>{name}</small>", figure.form.format(number), _better(figure.lower)]
        if against:
            row.append(_change(name, against[name]) if name in against else "–")
        rows.append(row)
    heads = ["figure", "value", "better", *(["change"] if against else [])]
    lists = [(f"{name}: {reason}") for name, reason in value["left_out"].items()]
    out = html.table(heads, rows, raw=True)
    if lists:
        out += f"<h3>Left out</h3>{_list(lists)}"
    if value["warnings"]:
        out += f"<h3>Mind</h3>{_list(value['warnings'])}"
    if value.get("fail_if"):
        words = {True: "holds", False: "does not hold", None: "cannot be decided"}
        out += f"<h3>Conditions</h3>{_list(f'{text}: {words[holds]}' for text, holds in value['fail_if'].items())}"
    return out


def _against(against: Mapping[str, Any]) -> str:
    rows = [
        [escape(FIGURES[name].title), FIGURES[name].form.format(one["value"]), FIGURES[name].form.format(one["other"]),
         _change(name, one)]
        for name, one in against["differences"].items()
    ]  # fmt: skip
    other = against.get("generated") or {}
    out = f"<p>With {escape(str(other.get('source')))}, {escape(str(against.get('made')))}.</p>"
    out += html.table(["figure", "here", "there", "change"], rows, raw=True) if rows else "<p>No figure is in both.</p>"
    if against["conditions_differ"]:
        out += f"<h3>Not measured alike</h3>{_list(against['conditions_differ'])}"
    sides = {where: against[f"only_{where}"] for where in ("here", "there")}
    missing = [f"Only {where}: {', '.join(names)}." for where, names in sides.items() if names]
    return out + (_list(missing) if missing else "")


def _faces(measured: Measured) -> str:
    cells = [
        html.face(picture(pixels, 128, 90), prompt or "generated")
        for pixels, prompt in zip(measured.faces, measured.prompts, strict=True)
    ]
    return f'<div class="gallery">{"".join(cells)}</div><p>The first ones, not chosen.</p>'


def _distance(part: Mapping[str, Any], work: Path) -> str:
    names = ("fid", "kid", "precision", "recall", "f_score", "density", "coverage")
    floor, spread = part.get("floor") or {}, part.get("spread") or {}
    rows = []
    for name in names:
        if part.get(name) is None:
            continue
        form = FIGURES[name].form if name in FIGURES else "{:.4f}"
        deviation = (spread.get(name) or {}).get("deviation")
        shown = form.format(part[name]) + (f" ± {form.format(deviation)}" if deviation is not None else "")
        rows.append([name, shown, form.format(floor[name]) if floor.get(name) is not None else "–"])
    out = html.table(["figure", "value", "real against real"], rows)
    if floor.get("n"):
        sets = escape(str(floor["sets"]))
        out += f"<p>Real against real: {floor['n']:,} and {floor['n_real']:,} images ({sets}).</p>"
    return out + _sides(part)


def _stages(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Bars that show the stages apart: FID of real faces, reconstructions, what is drawn, and the prior alone."""
    fid, through = parts["fid"], parts.get("reconstruction") or {}
    floor, prior = fid.get("floor") or {}, through.get("prior") or {}
    found = [
        ("other real faces", floor.get("fid"), floor.get("n")),
        ("reconstructions", through.get("rfid"), through.get("n")),
        ("generated", fid["fid"], fid["generated"].get("n")),
        ("prior alone", prior.get("fid"), prior.get("n")),
    ]
    known = [(f"{label}, N {n:,}" if n else label, value) for label, value, n in found if value is not None]
    plot = bars_plot([(label, value, f"{value:.1f}") for label, value in known], "FID by stage")
    note = "FID of each stage. It is higher the fewer the images, so bars of different N do not compare."
    return f"<figure>{plot}<figcaption>{note}</figcaption></figure>"


def _attributes(part: Mapping[str, Any], work: Path) -> str:
    interval = part.get("obedience_interval")
    between = f" (95 %: {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    obedience = "–" if part["obedience"] is None else f"{part['obedience']:.3f}"
    out = (
        f"<p>Obedience {obedience}{between}: {part['hit']:.1%} of what prompts name is seen, between "
        f"{part['floor']:.1%} by luck and {part['ceiling']:.1%} on real faces that have it. {part['faces']:,} faces; "
        f"the judge, {escape(str(part['judge']['source']))}, is right on {part['judge']['accuracy']:.1%} of real "
        "attributes.</p>"
    )
    rows = []
    for name, ways in part["attributes"].items():
        for way, one in ways.items():
            if one is not None:
                words = escape(name.replace("_", " ")) + (" <small>absent</small>" if way == "absent" else "")
                rows.append([words, _bar(one["hit"], one["ceiling"], one["floor"]), f"{one['hit']:.0%}",
                             f"{one['ceiling']:.0%}", f"{one['floor']:.0%}", f"{one['n']:,}"])  # fmt: skip
    heads = ["asked for", "", "seen", "real", "luck", "prompts"]
    out += f"<details open><summary>By attribute</summary>{html.table(heads, rows, raw=True)}</details>"
    cells = [
        html.face(_file(Path(one["path"]), 128), one["prompt"], f"missed: {', '.join(one['missed'])}")
        for one in part["worst"]
        if one.get("path") and Path(one["path"]).is_file()
    ]
    if cells:
        out += f'<h3>Worst prompts</h3><div class="gallery">{"".join(cells)}</div>'
    return out


def _text(part: Mapping[str, Any], work: Path) -> str:
    def shown(value: float | None, form: str, absent: str = "–") -> str:
        return absent if value is None else form.format(value)

    rows = [
        ["CLIP score", f"{part['score']:.3f}" + shown(part["score_interval"], " ± {:.3f}", ""),
         shown(part["score_real"], "{:.3f}"), f"{part['score_shuffled']:.3f}"],
        ["R-precision", f"{part['r_precision']:.1%}", shown(part["r_precision_real"], "{:.1%}"),
         f"{part['chance']:.1%}"],
    ]  # fmt: skip
    flatters = ", which conditions the model, so it flatters" if part["conditions_model"] else ""
    return (
        html.table(["figure", "value", "photographs", "chance"], rows)
        + f"<p>{part['n']:,} faces, {part['candidates']} candidates. CLIP: {escape(str(part['clip']))}{flatters}.</p>"
    )


def _reconstruction(part: Mapping[str, Any], work: Path) -> str:
    figures = (("psnr", "PSNR, dB", 2), ("ssim", "SSIM", 4), ("lpips", "LPIPS", 4), ("rfid", "FID", 2))
    rows = []
    for name, title, digits in figures:
        value, interval = part.get(name), part.get(f"{name}_interval")
        if value is not None:
            rows.append([title, f"{value:.{digits}f}" + ("" if interval is None else f" ± {interval:.{digits}f}")])
    prior = part.get("prior") or {}
    titles = {
        "nll": "prior: nats a dimension", "nll_without_text": "the same without text", "kl": "prior: KL a dimension",
        "variance_explained": "prior: variance explained", "fid": "FID of the prior alone",
    }  # fmt: skip
    rows += [[title, f"{prior[name]:.4f}"] for name, title in titles.items() if prior.get(name) is not None]
    cells = [
        html.face(_file(path, 260), "photograph and reconstruction")
        for path in sorted((work / "reconstruction").glob("*.png"))[:WORST_PAIRS]
    ]
    worst = f'<h3>Worst cases</h3><div class="gallery wide-faces">{"".join(cells)}</div>' if cells else ""
    images = f"<p>{part['n']:,} images of {escape(str(part['source']))}.</p>"
    return html.table(["figure", "value"], rows) + images + worst


def _memorization(part: Mapping[str, Any], work: Path) -> str:
    rows = [
        [name, f"{space['generated_median']:.3g}", f"{space['held_out_median']:.3g}",
         *("-" if space[ratio] is None else f"{space[ratio]:.3f}" for ratio in ("ratio_median", "ratio_1_percent")),
         f"{space['nearer']:.3f}", f"{space['below_1_percent']:.2%}"]
        for name, space in part["spaces"].items()
    ]  # fmt: skip
    heads = ["features", "generated", "held out", "ratio", "ratio, 1 %", "nearer", "suspicious"]
    out = html.table(heads, rows) + (
        "<p>Distance to the nearest training picture, in the median, of generated faces and of photographs that were "
        "not trained on; their ratio there and at 1 %; the chance that a generated face is the nearer one (0.5 is "
        "even); and the share of faces nearer than 99 % of those photographs are (1 % is what chance gives). "
        f"{part['n']:,} faces, {part['n_train']:,} training pictures.</p>"
    )
    diversity = part.get("diversity")
    if diversity:
        out += (
            f"<p>Two faces of one prompt are {diversity['generated']:.3f} apart, photographs that share its attributes "
            f"{diversity['real']:.3f} ({escape(str(diversity['distance']))}).</p>"
        )
    if (work / "pairs.png").is_file():
        out += "<h3>Closest pairs</h3>" + html.face(_file(work / "pairs.png", 1200), "generated and training picture")
    return out


def _how(value: Mapping[str, Any]) -> str:
    generated = value["generated"]
    settings = {**(generated.get("settings") or {})}
    rows = [[name.replace("_", " "), str(setting)] for name, setting in settings.items() if setting not in (None, "")]
    if "seed" in generated:
        rows.append(["first seed", str(generated["seed"])])
    rows.append(["SHA-256", str(generated.get("sha256"))[:16]])
    rows += [[name, text] for name, text in value["versions"].items()]
    measured = ", ".join(name for name in PARTS if name in value["parts"])
    return f"<p>Measured: {measured}.</p>" + html.table(["", ""], rows, text=2)


# ------------------------------------------------------------------------------------------------ small parts


def _sides(part: Mapping[str, Any]) -> str:
    def side(info: Mapping[str, Any]) -> str:
        words = [str(info.get("source")), f"N {info.get('n'):,}", f"size {info.get('size')}"]
        words.append(f"crop {info.get('crop') or 'unknown'}")
        return ", ".join([*words, f"filter {info['filter']}"] if info.get("filter") else words)

    return _list([f"Generated: {side(part['generated'])}", f"Real: {side(part['real'])}"])


def _bar(hit: float, ceiling: float, floor: float) -> str:
    """A bar as long as `hit`, with marks at what luck and real faces reach."""
    marks = "".join(
        f'<rect x="{100 * at - 0.6:.1f}" width="1.2" height="10" class="mark"/>' for at in (floor, ceiling)
    )
    return (
        '<svg class="hit" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="back" width="100" height="10" fill="#e4e4e9"/>'
        f'<rect class="bar" y="2" width="{100 * hit:.1f}" height="6" fill="{COLOURS[0]}"/>'
        f"{marks}</svg>"
    )


def _file(path: Path, largest: int) -> str:
    return picture(read_pixels(path), largest, 90)


def _change(name: str, one: Mapping[str, Any]) -> str:
    sign = {"better": "good", "worse": "bad"}.get(one["verdict"], "even")
    number = re.sub(r"^(-?)", lambda m: m[1] or "+", FIGURES[name].form.format(one["change"]))
    return f'<span class="{sign}">{number} {one["verdict"]}</span>'


def _better(lower: bool) -> str:
    return "lower" if lower else "higher"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def text_table(value: Mapping[str, Any]) -> list[str]:
    """The figures as lines of text, with the change where another report is beside them."""
    against = value.get("against", {}).get("differences", {})
    width = max((len(name) for name in value["figures"]), default=0)
    lines = []
    for name, number in value["figures"].items():
        line = f"{name.ljust(width)}  {FIGURES[name].form.format(number)}"
        if name in against:
            line += f"  ({against[name]['verdict']}: {FIGURES[name].form.format(against[name]['other'])} there)"
        lines.append(line)
    return lines
