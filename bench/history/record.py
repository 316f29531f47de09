"""Make one record, for this folder, of the results of bench/peers: python bench/history/record.py RESULTS NAME.json"""

import json
import sys
from pathlib import Path


def main(folder, name):
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.json"))]
    for result in results:
        for row in result["rows"]:
            for values in (row.get("limits", {}), *row["peers"].values()):
                values.update({key: float(f"{v:.4g}") for key, v in values.items() if isinstance(v, float)})
    lines = ",\n".join(json.dumps(result, separators=(",", ":")) for result in results)
    Path(__file__).with_name(name).write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
