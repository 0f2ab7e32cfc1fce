"""TCL, whose checkpoints have ALBEF's form."""

from __future__ import annotations

from dataclasses import replace

from cbalign.interop.checkpoints.formats import albef

FORMAT = replace(albef.FORMAT, name="tcl", recognises=lambda names: False)
