"""Every setting of the spec language is used by the package."""

import re
from pathlib import Path

import cbalign
from cbalign.experiment.experiment import Experiment
from cbalign.experiment.fields import every

PACKAGE = Path(cbalign.__file__).parent
DECLARATION = re.compile(r"^    \w+: [^=\n]+ = (?:setting|subsection|part_setting)\(", re.MULTILINE)


def _code() -> str:
    """Return the code of the package without the declarations of settings."""
    return "\n".join(DECLARATION.sub("", path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py")))


def test_each_setting_is_used_outside_of_its_declaration():
    code = _code()
    used = set(re.findall(r"\.(\w+)\b", code)) | set(re.findall(r"[\"'](\w+)[\"']", code))
    names = {found.setting.name for found in every(Experiment)}
    assert not names - used, f"declared, but never used: {', '.join(sorted(names - used))}"


def test_an_unused_setting_is_found():
    assert "nowhere_used" not in _code()
    declared = '    nowhere_used: int = setting(1, help="A number.")'
    assert "nowhere_used" not in DECLARATION.sub("", declared)
