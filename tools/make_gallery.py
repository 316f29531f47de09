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
STRIP = {  # of the README
    "batch_norm": "grid", "spiral": "regions_5", "attention_dates": "attention_2", "simple_convnet": "seen_by_filters",
    "optimizer_paths": "paths", "vae": "samples", "apples_oranges": "price", "deep_convnet": "misclassified",
}  # fmt: skip

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
        pictures = [(f"{n}: {p.removesuffix('.png')}", folder / n / p) for n in names for p in results[n]["pictures"]]
        sheet(pictures, DOCS / "gallery" / f"{document}.png")
        contents.append(f"- [{title}](#{document}) / {title_ja}")
        sections.append(f'<a id="{document}"></a>\n\n## {title} / {title_ja}\n\n![{title}](gallery/{document}.png)\n')
        sections += [section(name, results[name]) for name in names]
    sheet([(EXAMPLES[n].title, folder / n / f"{p}.png") for n, p in STRIP.items()], DOCS / "gallery" / "strip.png")
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
    """A contact sheet: each picture made small, its title above it, a row as high as its highest picture."""
    small = [Image.open(source).convert("RGB") for _, source in pictures]
    for image in small:
        image.thumbnail((WIDTH - 16, HEIGHT - 8), Image.Resampling.LANCZOS)
    rows = [range(i, min(i + COLUMNS, len(small))) for i in range(0, len(small), COLUMNS)]
    heights = [max(small[i].height for i in row) + CAPTION + 12 for row in rows]
    whole = Image.new("RGB", (min(COLUMNS, len(small)) * WIDTH, sum(heights)), "white")
    draw, font, top = ImageDraw.Draw(whole), ImageFont.load_default(15), 0
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left, image = column * WIDTH, small[i]
            draw.text((left + 8, top + 4), pictures[i][0], fill="black", font=font)
            down = top + CAPTION + (height - CAPTION - image.height) // 2
            whole.paste(image, (left + (WIDTH - image.width) // 2, down))
        top += height
    whole.quantize(200, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
