"""Where a film came from, told in a way that can be checked: C2PA manifests, sidecars, watermarks. See README.md.

finished = finish(local, Work("deliverable", "a.mp4", [Source("take.mp4", take, facts)]), settings.provenance)
"""

from infra.provenance.errors import Invalid, MarkingFailed, ProvenanceError, SigningFailed
from infra.provenance.facts import Takes, take_facts
from infra.provenance.finish import Finished, check_local, check_stored, finish, ready, trusted
from infra.provenance.sign import Validation, require_sound, validate
from infra.provenance.watermark import marked
from infra.provenance.work import Source, Work

__all__ = [
    "Finished",
    "Invalid",
    "MarkingFailed",
    "ProvenanceError",
    "SigningFailed",
    "Source",
    "Takes",
    "Validation",
    "Work",
    "check_local",
    "check_stored",
    "finish",
    "marked",
    "ready",
    "require_sound",
    "take_facts",
    "trusted",
    "validate",
]
