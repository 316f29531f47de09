"""Writes docs/gallery.md and its contact sheets from the results of full runs.

    OMP_NUM_THREADS=1 FASTNN_DATA=... fastnn examples --all --out results
    python tools/make_gallery.py results

Needs Pillow, which comes with matplotlib.
"""

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fastnn.examples import DOCUMENTS, EXAMPLES, cells

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
COLUMNS, WIDTH, HEIGHT, CAPTION = 4, 380, 285, 24  # of a contact sheet, in pixels
STRIP = [
    "batch_norm", "optimizer_paths", "spiral", "simple_convnet",
    "attention_dates", "vae", "sine_to_cosine", "augmentation",
]  # fmt: skip

HEAD = """# Gallery / ギャラリー

Every system of the five documents that fastnn grew from, as one short script each. `fastnn examples` lists them,
`fastnn examples spiral` runs one (`--quick`: in seconds, on data that ships). The numbers are of full runs on real data
by one thread. "The document" is what the document reported; its seconds were taken on its author's machine.

fastnn の元になった 5 つの文書のすべての題材を、それぞれ短いスクリプトにしました。`fastnn examples` で一覧を表示し、
`fastnn examples spiral` のように実行します。

{contents}
"""


def main(folder: Path) -> None:
    results = {name: json.loads((folder / name / "results.json").read_text(encoding="utf-8")) for name in EXAMPLES}
    quick = [name for name, result in results.items() if result["quick"]]
    if quick:
        sys.exit(f"these are of quick runs: {', '.join(quick)}")
    (DOCS / "gallery").mkdir(exist_ok=True)
    sections, contents = [], []
    for document, (title, title_ja) in DOCUMENTS.items():
        names = [name for name in EXAMPLES if EXAMPLES[name].document == document]
        pictures = [(EXAMPLES[n].title, folder / n / p) for n in names for p in results[n]["pictures"][:1]]
        sheet(pictures, DOCS / "gallery" / f"{document}.png")
        contents.append(f"- [{title}](#{document}) / {title_ja}")
        sections.append(f'<a id="{document}"></a>\n\n## {title} / {title_ja}\n\n![{title}](gallery/{document}.png)\n')
        sections += [section(name, results[name]) for name in names]
    strip = [(EXAMPLES[n].title, folder / n / results[n]["pictures"][0]) for n in STRIP]
    sheet(strip, DOCS / "gallery" / "strip.png")
    text = HEAD.format(contents="\n".join(contents)) + "\n" + "\n".join(sections)
    (DOCS / "gallery.md").write_text(text, encoding="utf-8")


def section(name: str, result: dict) -> str:
    """An example's heading and table."""
    example = EXAMPLES[name]
    lines = [f"### {example.title} / {example.title_ja}", ""]
    lines += [f"[{name}.py](../fastnn/examples/{name}.py), {example.chapter}, {result['seconds']:.0f} s in all", ""]
    lines += ["| quantity | the document | fastnn | seconds (document / fastnn) |", "|---|---:|---:|---:|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in result["rows"]]
    return "\n".join(lines) + "\n"


def sheet(pictures: list[tuple[str, Path]], path: Path) -> None:
    """A contact sheet: each picture made small, its title above it."""
    rows = -(-len(pictures) // COLUMNS)
    columns = min(COLUMNS, len(pictures))
    image = Image.new("RGB", (columns * WIDTH, rows * (HEIGHT + CAPTION)), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    for i, (title, source) in enumerate(pictures):
        left, top = i % COLUMNS * WIDTH, i // COLUMNS * (HEIGHT + CAPTION)
        draw.text((left + 8, top + 4), title, fill="black", font=font)
        small = Image.open(source).convert("RGB")
        small.thumbnail((WIDTH - 16, HEIGHT - 8), Image.Resampling.LANCZOS)
        image.paste(small, (left + (WIDTH - small.width) // 2, top + CAPTION + (HEIGHT - small.height) // 2))
    image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
