"""Where a notebook can be launched: on Colab and on Binder, from the repository's address."""

from repository import HOW

BADGES = {
    "Colab": "https://colab.research.google.com/assets/colab-badge.svg",
    "Binder": "https://mybinder.org/badge_logo.svg",
}


def launch_links(address: str, branch: str, file: str) -> dict[str, str]:
    """Return the addresses that open a file of the repository on Colab and on Binder."""
    repository = address.removeprefix("https://github.com/")
    return {
        "Colab": f"https://colab.research.google.com/github/{repository}/blob/{branch}/{file}",
        "Binder": f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{file}",
    }


def badges(address: str, branch: str, file: str) -> str:
    """Return the badges of a notebook in Markdown."""
    links = launch_links(address, branch, file)
    return "\n".join(f"[![Open on {at}]({BADGES[at]})]({link})" for at, link in links.items())


def launch_table(address: str | None, branch: str, files: dict[str, str]) -> str:
    """Return the book's list of notebooks with their links; without an address, how to give one."""
    if address is None:
        return f"This copy of the book has no launch links. {HOW}"
    lines = ["| notebook | Colab | Binder |", "|---|---|---|"]
    for title, file in files.items():
        if file.endswith(".ipynb"):
            links = launch_links(address, branch, file).values()
            cells = (f"[open]({link})" for link in links)
            lines.append(f"| [{title}](../{file}) | {' | '.join(cells)} |")
    return "\n".join(lines)
