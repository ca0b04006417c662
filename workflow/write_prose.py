"""Write what the prose quotes, its numbers and figures: needs no notebook, runs beside them."""

import argparse
from pathlib import Path

import yaml
from prose import draw_figures, numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--results", help="the recorded results without one")
    options = parser.parse_args()

    results = options.results or None
    options.folder.mkdir(parents=True, exist_ok=True)
    draw_figures(results, options.preset, options.folder)
    text = yaml.safe_dump(numbers(results, options.preset), sort_keys=False, allow_unicode=True)
    (options.folder / "numbers.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
