"""What the scripts of the book's pages read: students, images and confidences, as small scripts.

A page that is opened from disk may load a script and nothing else, so everything is written as one:
``results/PROFILE/pages/NAME.js`` sets ``trustdd.NAME``. `make` says which there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trustdd.report.page_data import confidences, course, explorer, images, students
from trustdd.report.page_data.packing import script
from trustdd.report.results import MissingArtefacts, Results
from trustdd.settings.errors import MissingData
from trustdd.store.files import write_text
from trustdd.store.profiles import Profile

#: folder of a profile's results
FOLDER = "pages"
#: name → what makes its value of a profile's results
MAKERS: Mapping[str, Callable[[Results], Any]] = {
    "students": students.students_of,
    "images": images.images_of,
    "confidences": confidences.confidences_of,
    "course": course.course_of,
    "explorer": explorer.explorer_of,
}
#: the explorer's rows for those who take them elsewhere
CSV = "results.csv"


def write_page_data(profile: str | Path | Profile) -> tuple[dict[str, Path], dict[str, str]]:
    """Write every piece that can be made of a profile's runs, and remove those that cannot.

    Args:
        profile: the profile, its name, or the path of its file.

    Returns:
        Name → file; and name → why it was left out.

    Raises:
        ValueError: no such profile.
    """
    results = Results(profile)
    folder = results.folder / FOLDER
    written, left_out = {}, {}
    for name, make in MAKERS.items():
        path = folder / f"{name}.js"
        try:
            value = make(results)
            written[name] = write_text(path, script(name, value))
            if name == "explorer":
                written[CSV] = write_text(folder / CSV, explorer.as_csv(value))
        except (MissingArtefacts, MissingData) as error:
            path.unlink(missing_ok=True)
            left_out[name] = str(error)
    return written, left_out
